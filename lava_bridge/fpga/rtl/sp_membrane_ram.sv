// Membranes of a population of several words: two banks, one integrates a window while the other is drained and
// cleared. An addend reaches a word two cycles after the word was read, so the last two sums are forwarded.
`default_nettype none
module sp_membrane_ram #(
  parameter int L     = 8,
  parameter int F     = 8,
  parameter int DW    = 12,
  parameter int MAX   = 0,                // keep the largest addend instead of the sum
  parameter int ACC_W = 16,
  parameter int DEPTH = 2,
  parameter int VA_W  = 1,
  parameter     STYLE = "auto"
) (
  input  wire               clk,
  input  wire               rst,
  input  wire               early_valid,  // one cycle ahead of the addends
  input  wire [VA_W-1:0]    early_va,
  input  wire               early_bank,
  input  wire [L*DW-1:0]    data,         // addends, zero where there is none
  input  wire [L-1:0]       carry,
  input  wire               commit,       // these addends are the last of the window
  output wire               ready,        // both banks are clear after a reset
  output reg                head_valid,
  output wire [F*ACC_W-1:0] head,
  input  wire               take,
  output wire               drained
);
  localparam int A_W = $clog2(DEPTH);
  localparam int SUB = L / F;
  localparam int S_W = (SUB > 1) ? $clog2(SUB) : 1;
  wire _unused = &{1'b0, early_va};
  wire [A_W-1:0] early_a = early_va[A_W-1:0];

  // Update: stage 3 adds, stage 4 writes, stage 5 is remembered for forwarding.
  reg             v3, v4, v5, b3, b4, b5, from4, from5, commit4, commit5;
  reg [A_W-1:0]   a3, a4, a5;
  reg [L*ACC_W-1:0] sum4, sum5;
  always @(posedge clk) begin
    v3 <= early_valid; a3 <= early_a; b3 <= early_bank;
    v4 <= v3; a4 <= a3; b4 <= b3;
    v5 <= v4; a5 <= a4; b5 <= b4; sum5 <= sum4;
    from4 <= v3 && (a3 == early_a) && (b3 == early_bank);
    from5 <= v4 && (a4 == early_a) && (b4 == early_bank);
    commit4 <= commit; commit5 <= commit4;
    if (rst) begin
      v3 <= 1'b0; v4 <= 1'b0; v5 <= 1'b0; commit4 <= 1'b0; commit5 <= 1'b0;
    end
  end
  wire _unused5 = &{1'b0, v5, a5, b5};

  // Drain: the words of the finished bank in order, F neurons at a time; each is cleared once it was read.
  reg             bank;                   // the one that is drained next
  reg [A_W-1:0]   word;
  reg [S_W-1:0]   sub;
  reg             clear, clear_bank;
  reg [A_W-1:0]   clear_a;
  wire last_sub  = (sub == S_W'(SUB - 1));
  wire last_word = (word == A_W'(DEPTH - 1));
  wire read      = commit5 || (take && last_sub && !last_word);
  wire [A_W-1:0] read_a = commit5 ? '0 : word + 1'b1;
  assign drained = take && last_sub && last_word;

  // After a reset all words are cleared.
  reg             wiping;
  reg [A_W-1:0]   wipe_a;
  assign ready = !wiping;

  wire [L*ACC_W-1:0] rd0, rd1;
  wire use0 = early_valid && !early_bank, use1 = early_valid && early_bank;
  wire get0 = read && !bank, get1 = read && bank;
  wire put0 = v4 && !b4, put1 = v4 && b4;
  wire zero0 = wiping || (clear && !clear_bank), zero1 = wiping || (clear && clear_bank);
  wire [A_W-1:0] zero_a = wiping ? wipe_a : clear_a;
  sp_membrane_bank #(.W(L*ACC_W), .DEPTH(DEPTH), .A_W(A_W), .STYLE(STYLE)) u_bank0 (
    .clk(clk), .re(use0 || get0), .ra(use0 ? early_a : read_a), .rd(rd0),
    .we(put0 || zero0), .wa(zero0 ? zero_a : a4), .wd(zero0 ? '0 : sum4));
  sp_membrane_bank #(.W(L*ACC_W), .DEPTH(DEPTH), .A_W(A_W), .STYLE(STYLE)) u_bank1 (
    .clk(clk), .re(use1 || get1), .ra(use1 ? early_a : read_a), .rd(rd1),
    .we(put1 || zero1), .wa(zero1 ? zero_a : a4), .wd(zero1 ? '0 : sum4));

  wire [L*ACC_W-1:0] rd = b3 ? rd1 : rd0;
  genvar j;
  generate for (j = 0; j < L; j = j + 1) begin : g_lane
    wire signed [DW-1:0]    d    = data[j*DW +: DW];
    wire signed [ACC_W-1:0] wide = ACC_W'(d);
    wire [ACC_W-1:0] base = from4 ? sum4[j*ACC_W +: ACC_W] : from5 ? sum5[j*ACC_W +: ACC_W] : rd[j*ACC_W +: ACC_W];
    wire [ACC_W:0]   sum  = {base, 1'b1} + {wide, carry[j]};         // the lowest bit makes the carry
    wire [ACC_W-1:0] next = (MAX == 0) ? sum[ACC_W:1] : (base > wide) ? base : wide;
    always @(posedge clk) sum4[j*ACC_W +: ACC_W] <= next;
    wire _unused_bit = &{1'b0, sum[0]};
  end endgenerate

  wire [L*ACC_W-1:0] fresh = bank ? rd1 : rd0;
  wire [L*ACC_W-1:0] here;
  generate if (SUB > 1) begin : g_serial
    reg [L*ACC_W-1:0] rest;
    always @(posedge clk) if (take) rest <= here >> (F * ACC_W);
    assign here = (sub == '0) ? fresh : rest;
  end else begin : g_whole
    assign here = fresh;
  end endgenerate
  assign head = here[F*ACC_W-1:0];
  always @(posedge clk) begin
    clear <= read; clear_a <= read_a; clear_bank <= bank;
    if (commit5) begin
      word <= '0; sub <= '0; head_valid <= 1'b1;
    end else if (take) begin
      sub <= last_sub ? '0 : sub + 1'b1;
      if (last_sub) word <= word + 1'b1;
      if (drained) head_valid <= 1'b0;
    end
    if (drained) bank <= !bank;
    if (wiping) begin
      wipe_a <= wipe_a + 1'b1;
      wiping <= (wipe_a != A_W'(DEPTH - 1));
    end
    if (rst) begin
      head_valid <= 1'b0; bank <= 1'b0; clear <= 1'b0; wiping <= 1'b1; wipe_a <= '0;
      word <= '0; sub <= '0;
    end
  end
endmodule
`default_nettype wire
