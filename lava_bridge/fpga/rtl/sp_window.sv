// Line buffers: codes come in position by position, the codes under a kernel go out, F channels of every tap a word.
// The NR rows that are kept lie in as many banks, row y in bank y mod NR through all samples; one column of the
// kernel is read from all banks at once, so a word takes KW cycles. Taps outside the map are zero.
`default_nettype none
module sp_window #(
  parameter int F      = 1,
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int BEATS  = 1,               // beats of a position
  parameter int COLS   = 1,
  parameter int OROWS  = 1,               // positions that go out
  parameter int OCOLS  = 1,
  parameter int KH     = 3,
  parameter int KW     = 3,
  parameter int DY     = 1,               // bank from one kernel row to the next
  parameter int DX     = 1,               // columns from one kernel column to the next
  parameter int SX     = 1,               // columns from one output to the next
  parameter int PX     = 0,               // columns in front of the map
  parameter int NK     = 1,               // times that a position's words go out
  parameter int NR     = 4,
  parameter int BANK0  = 0,               // bank of the kernel's first row, at the first output row
  parameter int BANKY  = 1,               // its step from one output row to the next
  parameter int BANKE  = 1,               // and from the last one to the first of the next sample
  parameter int N_W    = 1,               // width of a count of rows
  parameter int X_W    = 1,               // width of a count of columns
  parameter     STYLE  = "auto",
  parameter     ROW_TABLE = "rows.mem",   // {rows done with, rows needed, kernel rows inside} of each output row
  parameter     COL_TABLE = "cols.mem",   // {columns needed, kernel columns inside} of each output column
  parameter int C_W    = T + SIGNED,
  parameter int B_W    = F * C_W
) (
  input  wire                 clk,
  input  wire                 rst,
  input  wire                 s_valid,
  output wire                 s_ready,
  input  wire [B_W-1:0]       s_data,
  output reg                  m_valid,
  input  wire                 m_ready,
  output reg  [KW*KH*B_W-1:0] m_word      // column by column of the kernel, rows within, channels innermost
);
  localparam int DEPTH = COLS * BEATS;
  localparam int A_W   = (DEPTH > 1) ? $clog2(DEPTH) : 1;
  localparam int W_W   = (BEATS > 1) ? $clog2(BEATS) : 1;
  localparam int H_W   = N_W + 1;
  localparam int OY_W  = (OROWS > 1) ? $clog2(OROWS) : 1;
  localparam int OX_W  = (OCOLS > 1) ? $clog2(OCOLS) : 1;
  localparam int K_W   = (NK > 1) ? $clog2(NK) : 1;
  localparam int J_W   = (KW > 1) ? $clog2(KW) : 1;

  // Codes as two's complement: every digit but the topmost of a signed code then counts as it stands.
  wire [B_W-1:0] code;
  genvar f, i, m;
  generate for (f = 0; f < F; f = f + 1) begin : g_code
    if (SIGNED != 0) begin : g_signed
      wire [C_W-1:0] magnitude = {1'b0, s_data[f*C_W +: T]};
      assign code[f*C_W +: C_W] = s_data[f*C_W + T] ? -magnitude : magnitude;
    end else begin : g_unsigned
      assign code[f*C_W +: C_W] = s_data[f*C_W +: C_W];
    end
  end endgenerate

  // Writing. The reader's first row and those behind it are counted; negative: the first one is still to come.
  reg signed [H_W-1:0] have;
  reg [X_W-1:0] wcol;
  reg [W_W-1:0] wbeat;
  reg [A_W-1:0] wa;
  reg [NR-1:0]  wbank;                    // one-hot
  assign s_ready = (have != H_W'(NR));
  wire put       = s_valid && s_ready;
  wire put_pos   = put && (wbeat == W_W'(BEATS - 1));
  wire put_row   = put_pos && (wcol == X_W'(COLS - 1));
  always @(posedge clk) begin
    if (put) begin
      wbeat <= put_pos ? '0 : wbeat + 1'b1;
      wa    <= put_row ? '0 : wa + 1'b1;
    end
    if (put_pos) wcol <= put_row ? '0 : wcol + 1'b1;
    if (put_row) wbank <= {wbank[NR-2:0], wbank[NR-1]};
    if (rst) begin
      wbeat <= '0; wa <= '0; wcol <= '0; wbank <= NR'(1);
    end
  end

  // Reading: a kernel column of a beat for a chunk at output (oy, ox). What the tables say is read one step ahead.
  reg [2*N_W+KH-1:0] row_table [0:OROWS-1];
  reg [X_W+KW-1:0]   col_table [0:OCOLS-1];
  initial $readmemh(ROW_TABLE, row_table);
  initial $readmemh(COL_TABLE, col_table);
  reg [OY_W-1:0] oy;
  reg [OX_W-1:0] ox;
  reg [K_W-1:0]  chunk;
  reg [W_W-1:0]  beat;
  reg [J_W-1:0]  tap;
  reg [A_W-1:0]  base, ra;
  reg [N_W-1:0]  done_rows, need_rows;
  reg [KH-1:0]   row_on;
  reg [X_W-1:0]  need_cols;
  reg [KW-1:0]   col_on;
  reg [NR-1:0]   rbank;                   // one-hot: bank of the kernel's first row
  wire last_tap = (tap == J_W'(KW - 1));
  wire last_beat = (beat == W_W'(BEATS - 1));
  wire last_chunk = (chunk == K_W'(NK - 1));
  wire last_x = (ox == OX_W'(OCOLS - 1));
  wire last_y = (oy == OY_W'(OROWS - 1));
  wire signed [H_W-1:0] need = {1'b0, need_rows};
  wire signed [H_W-1:0] next = have + 1'b1;
  wire there = (have >= need) || ((next == need) && (wcol >= need_cols));
  wire adv;
  wire go     = there && adv;
  wire go_col = go && last_tap && last_beat && last_chunk;
  wire go_row = go_col && last_x;
  wire [OY_W-1:0] oy_next   = last_y ? '0 : oy + 1'b1;
  wire [OX_W-1:0] ox_next   = last_x ? '0 : ox + 1'b1;
  wire [A_W-1:0]  base_next = last_x ? A_W'(-PX * BEATS) : base + A_W'(SX * BEATS);
  always @(posedge clk) begin
    if (go) begin
      tap <= last_tap ? '0 : tap + 1'b1;
      if (last_tap) beat <= last_beat ? '0 : beat + 1'b1;
      if (last_tap && last_beat) chunk <= last_chunk ? '0 : chunk + 1'b1;
      if (!last_tap) ra <= ra + A_W'(DX * BEATS);
      else if (!last_beat) ra <= base + A_W'(beat) + 1'b1;
      else if (!last_chunk) ra <= base;
      else ra <= base_next;
    end
    if (go_col) begin
      ox <= ox_next; base <= base_next;
      {need_cols, col_on} <= col_table[ox_next];
    end
    if (go_row) begin
      oy <= oy_next;
      {done_rows, need_rows, row_on} <= row_table[oy_next];
      rbank <= last_y ? (rbank << BANKE) | (rbank >> (NR - BANKE)) : (rbank << BANKY) | (rbank >> (NR - BANKY));
    end
    have <= have + (put_row ? H_W'(1) : '0) - (go_row ? {1'b0, done_rows} : '0);
    if (rst) begin
      tap <= '0; beat <= '0; chunk <= '0; ox <= '0; oy <= '0; base <= A_W'(-PX * BEATS); ra <= A_W'(-PX * BEATS);
      {need_cols, col_on} <= col_table[0];
      {done_rows, need_rows, row_on} <= row_table[0];
      rbank <= NR'(1) << BANK0; have <= '0;
    end
  end

  // A column of every bank, then the kernel's rows of them, then the word.
  wire [NR*B_W-1:0] rd;
  generate for (m = 0; m < NR; m = m + 1) begin : g_bank
    sp_rows #(.W(B_W), .DEPTH(DEPTH), .A_W(A_W), .STYLE(STYLE)) u_rows (
      .clk(clk), .re(adv), .ra(ra), .rd(rd[m*B_W +: B_W]), .we(put && wbank[m]), .wa(wa), .wd(code));
  end endgenerate
  reg              v1, v2, on1, on2, end1, end2;
  reg [KH-1:0]     rows1, rows2;
  reg [NR-1:0]     bank1, bank2;
  reg [NR*B_W-1:0] rd2;
  wire [KH*B_W-1:0] column;
  generate for (i = 0; i < KH; i = i + 1) begin : g_row
    wire [NR*B_W-1:0] picked;
    for (m = 0; m < NR; m = m + 1) begin : g_pick
      localparam int HERE = ((m - i*DY) % NR + NR) % NR;
      assign picked[m*B_W +: B_W] = bank2[HERE] ? rd2[m*B_W +: B_W] : '0;
    end
    reg [B_W-1:0] any;
    integer n;
    always @* begin
      any = '0;
      for (n = 0; n < NR; n = n + 1) any = any | picked[n*B_W +: B_W];
    end
    assign column[i*B_W +: B_W] = (rows2[i] && on2) ? any : '0;
  end endgenerate
  assign adv = !m_valid || m_ready;
  wire [(KW+1)*KH*B_W-1:0] longer = {column, m_word};
  wire _unused = &{1'b0, longer[KH*B_W-1:0]};             // the oldest column leaves
  always @(posedge clk) begin
    if (adv) begin
      v1 <= there; on1 <= col_on[tap]; end1 <= last_tap; rows1 <= row_on; bank1 <= rbank;
      v2 <= v1; on2 <= on1; end2 <= end1; rows2 <= rows1; bank2 <= bank1; rd2 <= rd;
      if (v2) m_word <= longer[(KW+1)*KH*B_W-1:KH*B_W];
      m_valid <= v2 && end2;
    end
    if (rst) begin
      v1 <= 1'b0; v2 <= 1'b0; m_valid <= 1'b0;
    end
  end
endmodule
`default_nettype wire
