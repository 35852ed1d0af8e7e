// Words of P codes -> slices, one a cycle: one digit position of all P codes at once. Slices without a digit are
// skipped, a word without any takes one cycle. The last slice of a window waits until there is room behind it.
`default_nettype none
module sp_slices #(
  parameter int P     = 9,
  parameter int ND    = 4,                // digits of a code
  parameter int BEATS = 1,                // words of a window
  parameter int ROWS  = 1,                // words until the weights repeat
  parameter int D_W   = (ND > 1) ? $clog2(ND) : 1,
  parameter int R_W   = (ROWS > 1) ? $clog2(ROWS) : 1
) (
  input  wire            clk,
  input  wire            rst,
  input  wire            s_valid,
  output wire            s_ready,
  input  wire [P*ND-1:0] s_word,
  input  wire            room,
  output wire            m_valid,
  output wire            m_first,         // of the window
  output wire            m_last,
  output reg  [P-1:0]    m_mask,          // codes with this digit
  output reg  [D_W-1:0]  m_shift,         // weight of the digit is 2^shift
  output reg  [R_W-1:0]  m_row
);
  localparam int W_W = (BEATS > 1) ? $clog2(BEATS) : 1;
  reg            have, fresh;
  reg [P*ND-1:0] word;
  reg [ND-1:0]   one, left;               // the slice that is next, one-hot, and those behind it
  reg [W_W-1:0]  beat;
  reg [ND-1:0]   keys;
  wire [ND-1:0]  keys_rest = keys & (keys - 1'b1);
  wire [ND-1:0]  left_rest = left & (left - 1'b1);
  wire           more      = (left != '0);
  assign m_first = fresh && (beat == '0);
  assign m_last  = !more && (beat == W_W'(BEATS - 1));
  assign m_valid = have && (room || !m_last);
  wire           finished  = m_valid && !more;
  assign s_ready = !have || finished;
  wire           load      = s_valid && s_ready;
  integer p, d, n;
  always @* begin
    keys = '0;
    for (p = 0; p < P; p = p + 1) keys = keys | s_word[p*ND +: ND];
  end
  always @* begin
    m_shift = '0;
    for (p = 0; p < P; p = p + 1) m_mask[p] = |(word[p*ND +: ND] & one);
    for (d = 0; d < ND; d = d + 1)
      for (n = 0; n < D_W; n = n + 1) if (((d >> n) & 1) != 0) m_shift[n] = m_shift[n] | one[d];
  end
  always @(posedge clk) begin
    if (load) begin
      word <= s_word; one <= keys & ~keys_rest; left <= keys_rest; fresh <= 1'b1;
    end else if (m_valid) begin
      one <= left & ~left_rest; left <= left_rest; fresh <= 1'b0;
    end
    if (load) have <= 1'b1;
    else if (finished) have <= 1'b0;
    if (finished) begin
      beat  <= (beat == W_W'(BEATS - 1)) ? '0 : beat + 1'b1;
      m_row <= (m_row == R_W'(ROWS - 1)) ? '0 : m_row + 1'b1;
    end
    if (rst) begin
      have <= 1'b0; beat <= '0; m_row <= '0;
    end
  end
endmodule
`default_nettype wire
