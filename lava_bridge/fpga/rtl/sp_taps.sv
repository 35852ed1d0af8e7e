// An event at (row, column, channel) -> one operation per membrane word that it reaches.
// Row and column tables give the number of taps and the first addresses; from tap to tap both addresses move
// by constants. A dense layer has one tap, whose weight address grows with the position.
`default_nettype none
module sp_taps #(
  parameter int ROWS  = 1,
  parameter int COLS  = 1,
  parameter int F     = 1,                // neurons of a beat
  parameter int WLANE = 0,                // weight address from one neuron of a beat to the next
  parameter int NK    = 1,                // membrane words of a position, one after the other
  parameter int N_W   = 1,                // width of a tap count
  parameter int RW    = 0,                // steps along a column of taps: weight, membrane (modulo the width)
  parameter int RV    = 0,
  parameter int CW    = 0,                // steps along a row of taps
  parameter int CV    = 0,
  parameter int WA_W  = 1,
  parameter int VA_W  = 1,
  parameter int P_W   = 1,                // what travels along
  parameter     ROW_TABLE = "rows.mem",   // {count, weight address, membrane address} of each row
  parameter     COL_TABLE = "cols.mem",
  parameter int F_W   = (F > 1) ? $clog2(F) : 1,
  parameter int X_W   = (COLS > 1) ? $clog2(COLS) : 1,
  parameter int Y_W   = (ROWS > 1) ? $clog2(ROWS) : 1
) (
  input  wire            clk,
  input  wire            rst,
  input  wire            s_valid,
  output wire            s_ready,
  input  wire            s_hit,
  input  wire            s_eow,
  input  wire [F_W-1:0]  s_lane,
  input  wire [Y_W-1:0]  s_row,
  input  wire [X_W-1:0]  s_col,
  input  wire [WA_W-1:0] s_wbase,
  input  wire [VA_W-1:0] s_vbase,
  input  wire [P_W-1:0]  s_pay,
  output reg             m_valid,
  input  wire            m_ready,
  output reg             m_hit,
  output wire            m_eow,
  output reg  [WA_W-1:0] m_wa,
  output reg  [VA_W-1:0] m_va,
  output reg  [P_W-1:0]  m_pay
);
  localparam int E_W = N_W + WA_W + VA_W;
  localparam int K_W = (NK > 1) ? $clog2(NK) : 1;
  reg [E_W-1:0] row_table [0:ROWS-1];
  reg [E_W-1:0] col_table [0:COLS-1];
  initial $readmemh(ROW_TABLE, row_table);
  initial $readmemh(COL_TABLE, col_table);
  wire [N_W-1:0]  row_n, col_n;
  wire [WA_W-1:0] row_w, col_w;
  wire [VA_W-1:0] row_v, col_v;
  assign {row_n, row_w, row_v} = row_table[s_row];
  assign {col_n, col_w, col_v} = col_table[s_col];
  reg [WA_W-1:0] lane_w;                  // s_lane * WLANE without a multiplier
  integer f;
  always @* begin
    lane_w = '0;
    for (f = 0; f < F; f = f + 1) if (s_lane == F_W'(f)) lane_w = WA_W'(f * WLANE);
  end

  // Addresses of the first tap, in two stages.
  reg             a_valid, a_hit, a_eow;
  reg  [N_W-1:0]  a_rows, a_cols;
  reg  [WA_W-1:0] a_w0, a_w1;
  reg  [VA_W-1:0] a_v0, a_v1;
  reg  [P_W-1:0]  a_pay;
  wire a_ready;
  assign s_ready = !a_valid || a_ready;
  always @(posedge clk) begin
    if (s_ready) begin
      a_valid <= s_valid && ((s_hit && (row_n != '0) && (col_n != '0)) || s_eow);
      a_hit   <= s_hit && (row_n != '0) && (col_n != '0);
      a_eow   <= s_eow; a_rows <= row_n; a_cols <= col_n; a_pay <= s_pay;
      a_w0    <= s_wbase + row_w; a_w1 <= lane_w + col_w;
      a_v0    <= s_vbase + row_v; a_v1 <= col_v;
    end
    if (rst) a_valid <= 1'b0;
  end
  wire            b_valid, b_go, b_hit, b_eow, b_last_row, b_last_col;
  wire [N_W-1:0]  b_rows, b_cols;
  wire [WA_W-1:0] b_w, a_w;
  wire [VA_W-1:0] b_v, a_v;
  assign a_w = a_w0 + a_w1;
  assign a_v = a_v0 + a_v1;
  wire [P_W-1:0]  b_pay;
  sp_skid #(.W(4 + 2*N_W + WA_W + VA_W + P_W)) u_first (
    .clk(clk), .rst(rst), .s_valid(a_valid), .s_ready(a_ready),
    .s_data({a_hit, a_eow, a_rows == N_W'(1), a_cols == N_W'(1), a_rows, a_cols, a_w, a_v, a_pay}),
    .m_valid(b_valid), .m_ready(b_go),
    .m_data({b_hit, b_eow, b_last_row, b_last_col, b_rows, b_cols, b_w, b_v, b_pay}));

  // The walk over the taps; that one is the last of its kind shows in a register.
  reg  [N_W-1:0]  rows, cols, width;      // taps left, the row's full width
  reg  [K_W-1:0]  k;
  reg             last_row, last_col, last_k, narrow;
  reg  [WA_W-1:0] row_start_w;
  reg  [VA_W-1:0] row_start_v;
  reg             eow;
  wire final_op = !m_hit || (last_k && last_col && last_row);
  assign b_go  = !m_valid || (m_ready && final_op);
  assign m_eow = eow && final_op;
  wire new_row = last_k && last_col;
  wire [WA_W-1:0] from_w = new_row ? row_start_w : m_wa;
  wire [VA_W-1:0] from_v = new_row ? row_start_v : m_va;
  wire [WA_W-1:0] step_w = !last_k ? WA_W'(1) : !last_col ? WA_W'(CW - NK + 1) : WA_W'(RW);
  wire [VA_W-1:0] step_v = !last_k ? VA_W'(1) : !last_col ? VA_W'(CV - NK + 1) : VA_W'(RV);
  wire [WA_W-1:0] next_w = from_w + step_w;
  wire [VA_W-1:0] next_v = from_v + step_v;
  always @(posedge clk) begin
    if (b_go) begin
      m_valid <= b_valid; m_hit <= b_hit; eow <= b_eow; m_pay <= b_pay;
      rows <= b_rows; cols <= b_cols; width <= b_cols; k <= '0;
      last_row <= b_last_row; last_col <= b_last_col; narrow <= b_last_col; last_k <= (NK == 1);
    end else if (m_ready) begin
      k <= last_k ? '0 : k + 1'b1;
      last_k <= (NK == 1) || (!last_k && (k == K_W'(NK - 2)));
      if (last_k) begin
        cols <= last_col ? width : cols - 1'b1;
        last_col <= last_col ? narrow : (cols == N_W'(2));
      end
      if (new_row) begin
        rows <= rows - 1'b1; last_row <= (rows == N_W'(2));
      end
    end
    if (b_go || m_ready) begin
      m_wa <= b_go ? b_w : next_w; m_va <= b_go ? b_v : next_v;
    end
    if (b_go || (m_ready && new_row)) begin
      row_start_w <= b_go ? b_w : next_w; row_start_v <= b_go ? b_v : next_v;
    end
    if (rst) m_valid <= 1'b0;
  end
endmodule
`default_nettype wire
