// Maximum pooling (and upsampling, where a position reaches several others and nothing competes): the largest code
// of each window. Codes are kept as unsigned numbers whose zero is "nothing seen yet", below every code: padding is
// absent, never a zero. Comparing whole codes is the digit-serial maximum, most significant digit first.
`default_nettype none
module sp_pool #(
  parameter int F      = 4,
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int BEATS  = 1,
  parameter int COLS   = 2,
  parameter int ROWS   = 2,
  parameter int RV     = 0,
  parameter int CV     = 0,
  parameter int N_W    = 1,
  parameter int VA_W   = 1,
  parameter int DEPTH  = 1,               // words of the output window
  parameter int BUFFER = 2,
  parameter     STYLE  = "auto",
  parameter     ROW_TABLE = "rows.mem",
  parameter     COL_TABLE = "cols.mem",
  parameter int B_W    = F * (T + SIGNED)
) (
  input  wire           clk,
  input  wire           rst,
  input  wire           s_valid,
  output wire           s_ready,
  input  wire [B_W-1:0] s_data,
  output wire           m_valid,
  input  wire           m_ready,
  output wire [B_W-1:0] m_data,
  output wire           m_last
);
  localparam int C_W = T + SIGNED;
  localparam int U_W = C_W + 1;           // one more bit: the addends are read as signed numbers
  localparam int X_W = (COLS > 1) ? $clog2(COLS) : 1;
  localparam int Y_W = (ROWS > 1) ? $clog2(ROWS) : 1;
  localparam [U_W-1:0] TOP = U_W'((1 << T) - 1);
  wire b_valid, b_ready, last;
  wire [B_W-1:0] b_data;
  sp_buffer #(.W(B_W), .DEPTH(BUFFER)) u_buffer (
    .clk(clk), .rst(rst), .s_valid(s_valid), .s_ready(s_ready), .s_data(s_data),
    .m_valid(b_valid), .m_ready(b_ready), .m_data(b_data));
  wire [Y_W-1:0]  row;
  wire [X_W-1:0]  col;
  wire [0:0]      sub, wbase, wa;
  wire [VA_W-1:0] vbase, va;
  sp_walk #(.BEATS(BEATS), .COLS(COLS), .ROWS(ROWS), .VSTEP(1), .WA_W(1), .VA_W(VA_W)) u_walk (
    .clk(clk), .rst(rst), .step(b_valid && b_ready), .row(row), .col(col), .sub(sub), .wbase(wbase), .vbase(vbase),
    .last(last));
  wire op_valid, op_ready, op_hit, op_eow;
  wire [B_W-1:0] pay;
  sp_taps #(.ROWS(ROWS), .COLS(COLS), .N_W(N_W), .RV(RV), .CV(CV), .WA_W(1), .VA_W(VA_W), .P_W(B_W),
            .ROW_TABLE(ROW_TABLE), .COL_TABLE(COL_TABLE)) u_taps (
    .clk(clk), .rst(rst), .s_valid(b_valid), .s_ready(b_ready), .s_hit(1'b1), .s_eow(last), .s_lane(1'b0),
    .s_row(row), .s_col(col), .s_wbase(wbase), .s_vbase(vbase), .s_pay(b_data), .m_valid(op_valid),
    .m_ready(op_ready), .m_hit(op_hit), .m_eow(op_eow), .m_wa(wa), .m_va(va), .m_pay(pay));
  wire _unused = &{1'b0, sub, wa};

  // The delay of a weight memory, without one.
  reg            v1, v2;
  reg [VA_W-1:0] va1;
  reg [B_W-1:0]  p1, p2;
  reg [F*U_W-1:0] data;
  always @(posedge clk) begin
    v1 <= op_valid && op_ready && op_hit; va1 <= va; p1 <= pay;
    v2 <= v1; p2 <= p1;
    if (rst) begin
      v1 <= 1'b0; v2 <= 1'b0;
    end
  end
  wire [F*U_W-1:0] largest;
  genvar j;
  generate for (j = 0; j < F; j = j + 1) begin : g_code
    wire [T-1:0] magnitude = p2[j*C_W +: T];
    if (SIGNED != 0) begin : g_signed
      wire [U_W-1:0] wide = U_W'(magnitude);
      wire [U_W-1:0] u    = p2[j*C_W + T] ? TOP - wide : TOP + wide;
      always @(posedge clk) data[j*U_W +: U_W] <= v2 ? u : '0;
      wire [U_W-1:0] m    = largest[j*U_W +: U_W];
      wire           sign = (m < TOP);
      wire [U_W-1:0] back = sign ? TOP - m : m - TOP;
      assign m_data[j*C_W +: C_W] = {sign, back[T-1:0]};
      wire _unused_top = &{1'b0, back[U_W-1:T]};
    end else begin : g_unsigned
      always @(posedge clk) data[j*U_W +: U_W] <= v2 ? {1'b0, magnitude} : '0;
      assign m_data[j*C_W +: C_W] = largest[j*U_W +: C_W];
      wire _unused_top = &{1'b0, largest[j*U_W + C_W]};
    end
  end endgenerate
  sp_population #(.NP(1), .L(F), .F(F), .DW(U_W), .ACC_W(U_W), .DEPTH(DEPTH), .VA_W(VA_W), .X_W(U_W), .MAX(1), .T(0),
                  .STYLE(STYLE)) u_maxima (
    .clk(clk), .rst(rst), .op_valid(op_valid), .op_eow(op_eow), .op_ready(op_ready), .early_valid(v1),
    .early_va(va1), .data(data), .carry({F{1'b0}}), .m_valid(m_valid), .m_ready(m_ready), .m_data(largest),
    .m_last(m_last));
endmodule
`default_nettype wire
