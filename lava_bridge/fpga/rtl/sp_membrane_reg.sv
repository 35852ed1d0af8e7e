// Membranes of a population of one word: registers. At the end of a window they move into shadow registers, which
// the firing side empties F neurons at a time while the next window is integrated.
`default_nettype none
module sp_membrane_reg #(
  parameter int L     = 8,
  parameter int F     = 8,
  parameter int DW    = 12,
  parameter int MAX   = 0,                // keep the largest addend instead of the sum
  parameter int ACC_W = 16
) (
  input  wire               clk,
  input  wire               rst,
  input  wire [L*DW-1:0]    data,         // addends, zero where there is none
  input  wire [L-1:0]       carry,
  input  wire               commit,       // these addends are the last of the window
  output wire               ready,
  output reg                head_valid,   // there is something to take
  input  wire               take,
  output reg                f_valid,      // what was taken is here
  output wire [F*ACC_W-1:0] head,
  output wire               drained
);
  localparam int NW  = L / F;
  localparam int N_W = $clog2(NW + 1);
  reg [L*ACC_W-1:0] acc, shadow;
  reg [N_W-1:0]     left;
  reg               move;
  assign ready      = 1'b1;
  assign head       = shadow[F*ACC_W-1:0];
  assign drained    = take && (left == N_W'(1));
  genvar j;
  generate for (j = 0; j < L; j = j + 1) begin : g_lane
    wire signed [DW-1:0]    d    = data[j*DW +: DW];
    wire signed [ACC_W-1:0] wide = ACC_W'(d);
    wire [ACC_W-1:0]        base = move ? '0 : acc[j*ACC_W +: ACC_W];
    wire [ACC_W:0]          sum  = {base, 1'b1} + {wide, carry[j]};  // the lowest bit makes the carry
    wire [ACC_W-1:0]        next = (MAX == 0) ? sum[ACC_W:1] : (base > wide) ? base : wide;
    always @(posedge clk) begin
      acc[j*ACC_W +: ACC_W] <= next;
      if (rst) acc[j*ACC_W +: ACC_W] <= '0;
    end
    wire _unused = &{1'b0, sum[0]};
  end endgenerate
  always @(posedge clk) begin
    move <= commit;
    if (move || f_valid) shadow <= f_valid ? shadow >> (F * ACC_W) : acc;
    f_valid <= take;
    if (move) begin
      left <= N_W'(NW); head_valid <= 1'b1;
    end else if (take) begin
      left <= left - 1'b1; head_valid <= !drained;
    end
    if (rst) begin
      move <= 1'b0; head_valid <= 1'b0; f_valid <= 1'b0;
    end
  end
endmodule
`default_nettype wire
