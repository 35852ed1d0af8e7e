// A convolution by line buffers, neurons (T_OUT > 0) or readouts (T_OUT = 0) included: one output position after the
// other, L channels at a time. Its membranes are registers; while they fire, those of the next are summed.
`default_nettype none
module sp_conv #(
  parameter int F      = 1,               // the source: codes of a beat, digits, signs, beats of a position
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int BEATS  = 1,
  parameter int COLS   = 1,
  parameter int OROWS  = 1,               // geometry: see sp_window
  parameter int OCOLS  = 1,
  parameter int KH     = 3,
  parameter int KW     = 3,
  parameter int DY     = 1,
  parameter int DX     = 1,
  parameter int SX     = 1,
  parameter int PX     = 0,
  parameter int NK     = 1,
  parameter int NR     = 4,
  parameter int BANK0  = 0,
  parameter int BANKY  = 1,
  parameter int BANKE  = 1,
  parameter int N_W    = 1,
  parameter int X_W    = 1,
  parameter int Q      = 3,               // sums: see sp_sums
  parameter int L      = 8,
  parameter int T_W    = 10,
  parameter int S_W    = 12,
  parameter int DW     = 15,
  parameter int ACC_W  = 16,
  parameter int LEVELS = 2,
  parameter int HOLD   = 2,               // windows that wait to fire
  parameter int FO     = 1,               // the neurons: see sp_fire
  parameter int T_OUT  = 4,
  parameter int S_OUT  = 0,
  parameter int V_W    = 18,
  parameter int TH_W   = 8,
  parameter int ROWS   = 1,
  parameter     STYLE  = "auto",          // of the tables
  parameter     LINES  = "auto",          // of the line buffers
  parameter     TABLES = "sums",
  parameter     ROW_TABLE = "rows.mem",
  parameter     COL_TABLE = "cols.mem",
  parameter     TABLE  = "fire.mem",
  parameter int B_W    = F * (T + SIGNED),
  parameter int M_W    = FO * ((T_OUT > 0) ? T_OUT + S_OUT : V_W)
) (
  input  wire           clk,
  input  wire           rst,
  input  wire           s_valid,
  output wire           s_ready,
  input  wire [B_W-1:0] s_data,
  output wire           m_valid,
  input  wire           m_ready,
  output wire [M_W-1:0] m_data,
  output wire           m_last
);
  localparam int ND  = T + SIGNED;
  localparam int P   = KW * KH * F;
  localparam int D_W = (ND > 1) ? $clog2(ND) : 1;
  localparam int R_W = (BEATS * NK > 1) ? $clog2(BEATS * NK) : 1;
  wire w_valid, w_ready;
  wire [P*ND-1:0] word;
  sp_window #(.F(F), .T(T), .SIGNED(SIGNED), .BEATS(BEATS), .COLS(COLS), .OROWS(OROWS), .OCOLS(OCOLS), .KH(KH),
              .KW(KW), .DY(DY), .DX(DX), .SX(SX), .PX(PX), .NK(NK), .NR(NR), .BANK0(BANK0), .BANKY(BANKY),
              .BANKE(BANKE), .N_W(N_W), .X_W(X_W), .STYLE(LINES), .ROW_TABLE(ROW_TABLE), .COL_TABLE(COL_TABLE))
  u_window (
    .clk(clk), .rst(rst), .s_valid(s_valid), .s_ready(s_ready), .s_data(s_data), .m_valid(w_valid),
    .m_ready(w_ready), .m_word(word));

  wire room, d_valid, d_first, d_last;
  wire [P-1:0]   mask;
  wire [D_W-1:0] shift;
  wire [R_W-1:0] row;
  sp_slices #(.P(P), .ND(ND), .BEATS(BEATS), .ROWS(BEATS * NK)) u_slices (
    .clk(clk), .rst(rst), .s_valid(w_valid), .s_ready(w_ready), .s_word(word), .room(room), .m_valid(d_valid),
    .m_first(d_first), .m_last(d_last), .m_mask(mask), .m_shift(shift), .m_row(row));
  wire sum_valid;
  wire [L*ACC_W-1:0] sum;
  sp_sums #(.P(P), .Q(Q), .ND(ND), .SIGNED(SIGNED), .L(L), .ROWS(BEATS * NK), .T_W(T_W), .S_W(S_W), .DW(DW),
            .ACC_W(ACC_W), .LEVELS(LEVELS), .STYLE(STYLE), .TABLES(TABLES)) u_sums (
    .clk(clk), .rst(rst), .s_valid(d_valid), .s_first(d_first), .s_last(d_last), .s_mask(mask), .s_shift(shift),
    .s_row(row), .m_valid(sum_valid), .m_data(sum));

  // Finished membranes wait here; FO of them fire in a cycle.
  localparam int SUB = L / FO;
  localparam int U_W = (SUB > 1) ? $clog2(SUB) : 1;
  wire head_valid, fires, take;
  assign take = head_valid && fires;
  wire [L*ACC_W-1:0] here;
  reg  [U_W-1:0] sub;
  wire last_sub = (sub == U_W'(SUB - 1));
  sp_outlet #(.W(L*ACC_W), .DEPTH(HOLD)) u_hold (
    .clk(clk), .rst(rst), .room(room), .enter(d_valid && d_last), .p_valid(sum_valid), .p_data(sum),
    .m_valid(head_valid), .m_ready(take && last_sub), .m_data(here));
  reg [FO*ACC_W-1:0] head;
  integer n;
  always @* begin
    head = '0;
    for (n = 0; n < SUB; n = n + 1) if (sub == U_W'(n)) head = head | here[n*FO*ACC_W +: FO*ACC_W];
  end
  always @(posedge clk) begin
    if (take) sub <= last_sub ? '0 : sub + 1'b1;
    if (rst) sub <= '0;
  end
  localparam int OUT = OROWS * OCOLS * NK * SUB;
  generate if (T_OUT > 0) begin : g_fire
    sp_fire #(.F(FO), .ACC_W(ACC_W), .X_W(V_W), .T(T_OUT), .SIGNED(S_OUT), .TH_W(TH_W), .ROWS(ROWS), .BEATS(OUT),
              .TABLE(TABLE)) u_fire (
      .clk(clk), .rst(rst), .room(fires), .take(take), .head_valid(take), .head(head), .m_valid(m_valid),
      .m_ready(m_ready), .m_data(m_data), .m_last(m_last));
  end else begin : g_readout
    sp_readout #(.F(FO), .ACC_W(ACC_W), .X_W(V_W), .ROWS(ROWS), .BEATS(OUT), .TABLE(TABLE)) u_readout (
      .clk(clk), .rst(rst), .room(fires), .take(take), .head_valid(take), .head(head), .m_valid(m_valid),
      .m_ready(m_ready), .m_data(m_data), .m_last(m_last));
  end endgenerate
endmodule
`default_nettype wire
