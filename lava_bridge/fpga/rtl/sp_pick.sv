// Beats of F codes -> the codes that are not zero, one a cycle; a beat of zeros gives one zero code.
`default_nettype none
module sp_pick #(
  parameter int F      = 8,
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int C_W    = T + SIGNED,
  parameter int F_W    = (F > 1) ? $clog2(F) : 1
) (
  input  wire             clk,
  input  wire             rst,
  input  wire             s_valid,
  output wire             s_ready,
  input  wire [F*C_W-1:0] s_data,
  output reg              m_valid,
  input  wire             m_ready,
  output reg  [C_W-1:0]   m_code,
  output reg  [F_W-1:0]   m_lane,
  output reg              m_end           // last of its beat
);
  reg  [F-1:0] some;
  integer f, b;
  always @* for (f = 0; f < F; f = f + 1) some[f] = (s_data[f*C_W +: T] != '0);

  // The code that is next, one-hot, and the codes of the beat behind it; that there are any shows in a register.
  reg              have, more;
  reg  [F*C_W-1:0] codes;
  reg  [F-1:0]     first, left;
  wire [F-1:0]     some_first, some_rest, left_first, left_rest;
  sp_lowest #(.N(F)) u_some (.bits(some), .first(some_first), .rest(some_rest));
  sp_lowest #(.N(F)) u_left (.bits(left), .first(left_first), .rest(left_rest));
  wire move = m_ready || !m_valid;
  assign s_ready = !have || (move && !more);
  wire load = s_valid && s_ready;
  reg  [C_W-1:0] code;
  reg  [F_W-1:0] lane;
  always @* begin
    code = '0; lane = '0;
    for (f = 0; f < F; f = f + 1) begin
      code = code | (codes[f*C_W +: C_W] & {C_W{first[f]}});
      for (b = 0; b < F_W; b = b + 1) if (((f >> b) & 1) != 0) lane[b] = lane[b] | first[f];
    end
  end
  always @(posedge clk) begin
    if (load) codes <= s_data;
    if (load || move) begin
      first <= load ? some_first : left_first;
      left  <= load ? some_rest : left_rest;
      more  <= load ? (some_rest != '0) : (left_rest != '0);
    end
    if (load) have <= 1'b1;
    else if (move && !more) have <= 1'b0;
    if (move) begin
      m_valid <= have; m_code <= code; m_lane <= lane; m_end <= !more;
    end
    if (rst) begin
      have <= 1'b0; m_valid <= 1'b0;
    end
  end
endmodule
`default_nettype wire
