// Weight memory: an operation -> L addends, weight times 2^shift, three cycles later. Shift and exclusive-or only;
// a subtraction is the inverted addend with carry in. Everything is zero where no operation was issued.
`default_nettype none
module sp_synapse #(
  parameter int L       = 8,              // lanes: neurons of a membrane word
  parameter int F       = 8,
  parameter int LANE    = 0,              // 1: depthwise, a neuron of the beat reaches its own lane only
  parameter int SUBS    = 1,
  parameter int W_W     = 8,
  parameter int ND      = 4,
  parameter int NEG     = 0,              // whether a digit can be negative
  parameter int DW      = 12,             // width of an addend
  parameter int ROWS    = 1,
  parameter int WA_W    = 1,
  parameter int VA_W    = 1,
  // verilator lint_off UNUSEDPARAM
  parameter     STYLE   = "auto",         // block, distributed or auto; read by synthesis as an attribute
  // verilator lint_on UNUSEDPARAM
  parameter     WEIGHTS = "weights.mem",  // one line per address, lane 0 in the low bits
  parameter int D_W     = (ND > 1) ? $clog2(ND) : 1,
  parameter int S_W     = (SUBS > 1) ? $clog2(SUBS) : 1
) (
  input  wire            clk,
  input  wire            rst,
  input  wire            issue,
  input  wire [WA_W-1:0] wa,
  input  wire [VA_W-1:0] va,
  input  wire [D_W-1:0]  shift,
  input  wire [F-1:0]    mask,
  input  wire [F-1:0]    neg,
  input  wire [S_W-1:0]  sub,
  output wire            early_valid,     // two cycles ahead of the addends: which word they belong to
  output wire [VA_W-1:0] early_va,
  output reg  [L*DW-1:0] data,
  output reg  [L-1:0]    carry
);
  localparam int R_W = (ROWS > 1) ? $clog2(ROWS) : 1;
  (* ram_style = STYLE, rom_style = STYLE *)
  reg [L*W_W-1:0] weights [0:ROWS-1];
  initial $readmemh(WEIGHTS, weights);
  reg [L*W_W-1:0] w1, w2;
  always @(posedge clk) begin
    w1 <= weights[wa[R_W-1:0]];
    w2 <= w1;
  end

  reg            v1, v2;
  reg [VA_W-1:0] va1;
  reg [D_W-1:0]  s1, s2;
  reg [F-1:0]    m1, m2, n1, n2;
  reg [S_W-1:0]  u1, u2;
  always @(posedge clk) begin
    v1 <= issue; va1 <= va; s1 <= shift; m1 <= mask; n1 <= neg; u1 <= sub;
    v2 <= v1; s2 <= s1; m2 <= m1; n2 <= n1; u2 <= u1;
    if (rst) begin
      v1 <= 1'b0; v2 <= 1'b0;
    end
  end
  assign early_valid = v1;
  assign early_va    = va1;

  genvar j;
  generate for (j = 0; j < L; j = j + 1) begin : g_lane
    wire signed [W_W-1:0] w    = w2[j*W_W +: W_W];
    wire signed [DW-1:0]  wide = DW'(w);
    wire on, minus;
    if (LANE != 0) begin : g_own
      assign on    = v2 && m2[j % F] && (u2 == S_W'(j / F));
      assign minus = (NEG != 0) && n2[j % F];
    end else begin : g_all
      assign on    = v2;
      assign minus = (NEG != 0) && n2[0];
    end
    always @(posedge clk) begin
      data[j*DW +: DW] <= (wide <<< s2) ^ {DW{minus}};
      carry[j]         <= minus;
      if (!on) begin
        data[j*DW +: DW] <= '0;
        carry[j]         <= 1'b0;
      end
    end
  end endgenerate
  wire _unused = &{1'b0, m2, n2, u2, wa};
endmodule
`default_nettype wire
