// One projection: the stream of a source -> operations on the membranes of a population.
`default_nettype none
module sp_project #(
  parameter int F      = 8,
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int CSD    = 0,
  parameter int LANE   = 0,
  parameter int BEATS  = 1,
  parameter int COLS   = 1,
  parameter int ROWS   = 1,
  parameter int SUBS   = 1,
  parameter int SUB0   = 0,
  parameter int WSTEP  = 0,
  parameter int VSTEP  = 0,
  parameter int WLANE  = 0,
  parameter int NK     = 1,
  parameter int N_W    = 1,
  parameter int RW     = 0,
  parameter int RV     = 0,
  parameter int CW     = 0,
  parameter int CV     = 0,
  parameter int WA_W   = 1,
  parameter int VA_W   = 1,
  parameter int L      = 8,
  parameter int W_W    = 8,
  parameter int DW     = 12,
  parameter int DEPTH  = 1,
  parameter int BUFFER = 2,               // beats buffered in front
  parameter     STYLE  = "auto",
  parameter     WEIGHTS   = "weights.mem",
  parameter     ROW_TABLE = "rows.mem",
  parameter     COL_TABLE = "cols.mem",
  parameter int B_W    = F * (T + SIGNED)
) (
  input  wire            clk,
  input  wire            rst,
  input  wire            s_valid,
  output wire            s_ready,
  input  wire [B_W-1:0]  s_data,
  output wire            op_valid,
  output wire            op_eow,
  input  wire            op_ready,
  output wire            early_valid,
  output wire [VA_W-1:0] early_va,
  output wire [L*DW-1:0] data,
  output wire [L-1:0]    carry
);
  localparam int ND  = T + CSD;
  localparam int F_W = (F > 1) ? $clog2(F) : 1;
  localparam int D_W = (ND > 1) ? $clog2(ND) : 1;
  localparam int X_W = (COLS > 1) ? $clog2(COLS) : 1;
  localparam int Y_W = (ROWS > 1) ? $clog2(ROWS) : 1;
  localparam int S_W = (SUBS > 1) ? $clog2(SUBS) : 1;
  localparam int P_W = D_W + 2*F + S_W;
  wire b_valid, b_ready;
  wire [B_W-1:0] b_data;
  sp_buffer #(.W(B_W), .DEPTH(BUFFER)) u_buffer (
    .clk(clk), .rst(rst), .s_valid(s_valid), .s_ready(s_ready), .s_data(s_data),
    .m_valid(b_valid), .m_ready(b_ready), .m_data(b_data));

  wire e_valid, e_ready, e_hit, e_eow;
  wire [F_W-1:0]  e_lane;
  wire [D_W-1:0]  e_shift, shift;
  wire [F-1:0]    e_mask, e_neg, mask, neg;
  wire [Y_W-1:0]  e_row;
  wire [X_W-1:0]  e_col;
  wire [S_W-1:0]  e_sub, sub;
  wire [WA_W-1:0] e_wbase, wa;
  wire [VA_W-1:0] e_vbase, va;
  sp_scan #(.F(F), .T(T), .SIGNED(SIGNED), .CSD(CSD), .LANE(LANE), .BEATS(BEATS), .COLS(COLS), .ROWS(ROWS),
            .SUBS(SUBS), .SUB0(SUB0), .WSTEP(WSTEP), .VSTEP(VSTEP), .WA_W(WA_W), .VA_W(VA_W)) u_scan (
    .clk(clk), .rst(rst), .s_valid(b_valid), .s_ready(b_ready), .s_data(b_data),
    .m_valid(e_valid), .m_ready(e_ready), .m_hit(e_hit), .m_eow(e_eow), .m_lane(e_lane), .m_shift(e_shift),
    .m_mask(e_mask), .m_neg(e_neg), .m_row(e_row), .m_col(e_col), .m_sub(e_sub), .m_wbase(e_wbase),
    .m_vbase(e_vbase));

  // The scanner does not see how ready the population is: its paths end here.
  localparam int E_W = 2 + F_W + Y_W + X_W + WA_W + VA_W + P_W;
  wire t_valid, t_ready, t_hit, t_eow;
  wire [F_W-1:0]  t_lane;
  wire [Y_W-1:0]  t_row;
  wire [X_W-1:0]  t_col;
  wire [WA_W-1:0] t_wbase;
  wire [VA_W-1:0] t_vbase;
  wire [P_W-1:0]  t_pay;
  sp_skid #(.W(E_W)) u_skid (
    .clk(clk), .rst(rst), .s_valid(e_valid), .s_ready(e_ready),
    .s_data({e_hit, e_eow, e_lane, e_row, e_col, e_wbase, e_vbase, e_shift, e_mask, e_neg, e_sub}),
    .m_valid(t_valid), .m_ready(t_ready),
    .m_data({t_hit, t_eow, t_lane, t_row, t_col, t_wbase, t_vbase, t_pay}));

  wire w_valid, w_ready, w_hit, w_eow;
  wire [WA_W-1:0] w_wa;
  wire [VA_W-1:0] w_va;
  wire [P_W-1:0]  w_pay;
  sp_taps #(.ROWS(ROWS), .COLS(COLS), .F(F), .WLANE(WLANE), .NK(NK), .N_W(N_W), .RW(RW), .RV(RV), .CW(CW),
            .CV(CV), .WA_W(WA_W), .VA_W(VA_W), .P_W(P_W), .ROW_TABLE(ROW_TABLE), .COL_TABLE(COL_TABLE)) u_taps (
    .clk(clk), .rst(rst), .s_valid(t_valid), .s_ready(t_ready), .s_hit(t_hit), .s_eow(t_eow), .s_lane(t_lane),
    .s_row(t_row), .s_col(t_col), .s_wbase(t_wbase), .s_vbase(t_vbase), .s_pay(t_pay),
    .m_valid(w_valid), .m_ready(w_ready), .m_hit(w_hit), .m_eow(w_eow), .m_wa(w_wa), .m_va(w_va), .m_pay(w_pay));

  // Neither do the taps.
  wire op_hit;
  sp_skid #(.W(2 + WA_W + VA_W + P_W)) u_operations (
    .clk(clk), .rst(rst), .s_valid(w_valid), .s_ready(w_ready), .s_data({w_hit, w_eow, w_wa, w_va, w_pay}),
    .m_valid(op_valid), .m_ready(op_ready), .m_data({op_hit, op_eow, wa, va, shift, mask, neg, sub}));

  sp_synapse #(.L(L), .F(F), .LANE(LANE), .SUBS(SUBS), .W_W(W_W), .ND(ND), .NEG((SIGNED + CSD > 0) ? 1 : 0),
               .DW(DW), .ROWS(DEPTH), .WA_W(WA_W), .VA_W(VA_W), .STYLE(STYLE), .WEIGHTS(WEIGHTS)) u_synapse (
    .clk(clk), .rst(rst), .issue(op_valid && op_ready && op_hit), .wa(wa), .va(va), .shift(shift), .mask(mask),
    .neg(neg), .sub(sub), .early_valid(early_valid), .early_va(early_va), .data(data), .carry(carry));
endmodule
`default_nettype wire
