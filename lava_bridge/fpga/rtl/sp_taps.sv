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
  wire a_go;
  assign s_ready = !a_valid || a_go;
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

  // The walk over the taps.
  reg  [N_W-1:0]  rows, cols, width;      // taps left, the row's full width
  reg  [K_W-1:0]  k;
  reg  [WA_W-1:0] row_start_w;
  reg  [VA_W-1:0] row_start_v;
  reg             eow;
  wire last_k   = (k == K_W'(NK - 1));
  wire last_col = (cols == N_W'(1));
  wire last_row = (rows == N_W'(1));
  wire final_op = !m_hit || (last_k && last_col && last_row);
  assign a_go  = !m_valid || (m_ready && final_op);
  assign m_eow = eow && final_op;
  always @(posedge clk) begin
    if (a_go) begin
      m_valid <= a_valid; m_hit <= a_hit; eow <= a_eow; m_pay <= a_pay;
      rows <= a_rows; cols <= a_cols; width <= a_cols; k <= '0;
      m_wa <= a_w0 + a_w1; row_start_w <= a_w0 + a_w1;
      m_va <= a_v0 + a_v1; row_start_v <= a_v0 + a_v1;
    end else if (m_ready) begin
      k <= last_k ? '0 : k + 1'b1;
      if (!last_k) begin
        m_wa <= m_wa + 1'b1; m_va <= m_va + 1'b1;
      end else if (!last_col) begin
        cols <= cols - 1'b1;
        m_wa <= m_wa + WA_W'(CW - NK + 1); m_va <= m_va + VA_W'(CV - NK + 1);
      end else begin
        rows <= rows - 1'b1; cols <= width;
        m_wa <= row_start_w + WA_W'(RW); row_start_w <= row_start_w + WA_W'(RW);
        m_va <= row_start_v + VA_W'(RV); row_start_v <= row_start_v + VA_W'(RV);
      end
    end
    if (rst) m_valid <= 1'b0;
  end
endmodule
`default_nettype wire
