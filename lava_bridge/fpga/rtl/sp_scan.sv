// Beats of F codes -> spike events, one a cycle; digits that are zero cost nothing, an empty beat one cycle.
// LANE = 0: an event is one digit of one neuron. LANE = 1: an event is one digit position of all F neurons.
// The last event of a window carries eow; a window that ends without a spike ends with an event without hit.
`default_nettype none
module sp_scan #(
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
  parameter int WA_W   = 1,
  parameter int VA_W   = 1,
  parameter int B_W    = F * (T + SIGNED),
  parameter int ND     = T + CSD,
  parameter int F_W    = (F > 1) ? $clog2(F) : 1,
  parameter int D_W    = (ND > 1) ? $clog2(ND) : 1,
  parameter int X_W    = (COLS > 1) ? $clog2(COLS) : 1,
  parameter int Y_W    = (ROWS > 1) ? $clog2(ROWS) : 1,
  parameter int S_W    = (SUBS > 1) ? $clog2(SUBS) : 1
) (
  input  wire            clk,
  input  wire            rst,
  input  wire            s_valid,
  output wire            s_ready,
  input  wire [B_W-1:0]  s_data,
  output reg             m_valid,
  input  wire            m_ready,
  output reg             m_hit,
  output reg             m_eow,
  output reg  [F_W-1:0]  m_lane,          // LANE = 0: which of the F neurons
  output reg  [D_W-1:0]  m_shift,         // weight of the digit is 2^shift
  output reg  [F-1:0]    m_mask,          // LANE = 1: neurons with this digit (LANE = 0: all)
  output reg  [F-1:0]    m_neg,           // digit is negative (LANE = 0: in every bit)
  output reg  [Y_W-1:0]  m_row,
  output reg  [X_W-1:0]  m_col,
  output reg  [S_W-1:0]  m_sub,
  output reg  [WA_W-1:0] m_wbase,
  output reg  [VA_W-1:0] m_vbase
);
  localparam int C_W = T + SIGNED;
  localparam int P   = (LANE != 0) ? F : 1;       // codes that are taken apart at once
  // What is taken apart: single codes that are not zero, or (LANE = 1) whole beats.
  wire             p_valid, p_ready, p_end;
  wire [P*C_W-1:0] p_code;
  wire [F_W-1:0]   p_lane;
  generate if (LANE != 0) begin : g_beats
    assign p_valid = s_valid;
    assign s_ready = p_ready;
    assign p_code  = s_data;
    assign p_lane  = '0;
    assign p_end   = 1'b1;
  end else begin : g_codes
    sp_pick #(.F(F), .T(T), .SIGNED(SIGNED)) u_pick (
      .clk(clk), .rst(rst), .s_valid(s_valid), .s_ready(s_ready), .s_data(s_data), .m_valid(p_valid),
      .m_ready(p_ready), .m_code(p_code), .m_lane(p_lane), .m_end(p_end));
  end endgenerate
  wire [P*ND-1:0] some_in, minus_in;
  genvar g;
  generate for (g = 0; g < P; g = g + 1) begin : g_digits
    sp_digits #(.T(T), .SIGNED(SIGNED), .CSD(CSD)) u_code (
      .code(p_code[g*C_W +: C_W]), .some(some_in[g*ND +: ND]), .minus(minus_in[g*ND +: ND]));
  end endgenerate

  reg  [ND-1:0] any_in;
  integer f, d, b;
  always @* begin
    any_in = '0;
    for (f = 0; f < P; f = f + 1) any_in = any_in | some_in[f*ND +: ND];
  end
  wire             r_valid, r_ready, r_end;
  wire [P*ND-1:0]  some_r, minus_r;
  wire [ND-1:0]    keys;
  wire [F_W-1:0]   r_lane;
  sp_skid #(.W(2*P*ND + ND + F_W + 1)) u_digits (
    .clk(clk), .rst(rst), .s_valid(p_valid), .s_ready(p_ready), .s_data({some_in, minus_in, any_in, p_lane, p_end}),
    .m_valid(r_valid), .m_ready(r_ready), .m_data({some_r, minus_r, keys, r_lane, r_end}));

  // Its digits, lowest first; that more than one is left shows in a register.
  reg             have, more, ends;
  reg  [P*ND-1:0] some, minus;
  reg  [ND-1:0]   left;
  reg  [F_W-1:0]  code_lane;
  wire [ND-1:0]   keys_first, keys_rest, first, left_rest, second, left_last;
  sp_lowest #(.N(ND)) u_keys (.bits(keys), .first(keys_first), .rest(keys_rest));
  sp_lowest #(.N(ND)) u_left (.bits(left), .first(first), .rest(left_rest));
  sp_lowest #(.N(ND)) u_last (.bits(left_rest), .first(second), .rest(left_last));
  wire _unused_keys = &{1'b0, keys_first, second};
  reg             a_valid, a_hit, a_end;
  wire            a_ok = !a_valid || m_ready || !m_valid;
  assign r_ready = !have || (a_ok && !more);
  wire            load = r_valid && r_ready;

  reg  [D_W-1:0] shift;
  reg  [F-1:0]   mask, neg;
  always @* begin
    shift = '0;
    for (d = 0; d < ND; d = d + 1)
      for (b = 0; b < D_W; b = b + 1) if (((d >> b) & 1) != 0) shift[b] = shift[b] | first[d];
  end
  generate if (LANE != 0) begin : g_masks
    always @* for (f = 0; f < F; f = f + 1) begin
      mask[f] = |(first & some[f*ND +: ND]);
      neg[f]  = |(first & minus[f*ND +: ND]);
    end
  end else begin : g_whole
    wire _unused = &{1'b0, some};
    always @* begin
      mask = '1; neg = {F{|(first & minus)}};
    end
  end endgenerate

  // Stage A: the event as a number. A beat without events is one without a hit.
  reg  [F_W-1:0] a_lane;
  reg  [D_W-1:0] a_shift;
  reg  [F-1:0]   a_mask, a_neg;
  always @(posedge clk) begin
    if (load) begin
      some <= some_r; minus <= minus_r; code_lane <= r_lane; ends <= r_end;
    end
    if (load || a_ok) begin
      left <= load ? keys : left_rest;
      more <= load ? (keys_rest != '0) : (left_last != '0);
    end
    if (load) have <= 1'b1;
    else if (a_ok && !more) have <= 1'b0;
    if (a_ok) begin
      a_valid <= have; a_hit <= (left != '0); a_end <= ends && !more;
      a_lane <= code_lane; a_shift <= shift; a_mask <= mask; a_neg <= neg;
    end
    if (rst) begin
      have <= 1'b0; a_valid <= 1'b0;
    end
  end

  // Stage B: where its beat stands. Beats without events end here, but for the last of a window.
  wire            last;
  wire            a_goes = a_valid && (m_ready || !m_valid);
  wire [Y_W-1:0]  row;
  wire [X_W-1:0]  col;
  wire [S_W-1:0]  sub;
  wire [WA_W-1:0] wbase;
  wire [VA_W-1:0] vbase;
  sp_walk #(.BEATS(BEATS), .COLS(COLS), .ROWS(ROWS), .SUBS(SUBS), .SUB0(SUB0), .WSTEP(WSTEP), .VSTEP(VSTEP),
            .WA_W(WA_W), .VA_W(VA_W)) u_walk (
    .clk(clk), .rst(rst), .step(a_goes && a_end), .row(row), .col(col), .sub(sub), .wbase(wbase), .vbase(vbase),
    .last(last));
  always @(posedge clk) begin
    if (m_ready || !m_valid) begin
      m_valid <= a_valid && (a_hit || (last && a_end));
      m_hit   <= a_hit;
      m_eow   <= last && a_end;
      m_lane  <= a_lane; m_shift <= a_shift; m_mask <= a_mask; m_neg <= a_neg;
      m_row   <= row; m_col <= col; m_sub <= sub; m_wbase <= wbase; m_vbase <= vbase;
    end
    if (rst) m_valid <= 1'b0;
  end
endmodule
`default_nettype wire
