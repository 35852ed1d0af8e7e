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
  localparam int K   = (LANE != 0) ? ND : F * ND;
  wire [F*ND-1:0] some_in, minus_in;
  genvar g;
  generate for (g = 0; g < F; g = g + 1) begin : g_digits
    sp_digits #(.T(T), .SIGNED(SIGNED), .CSD(CSD)) u_digits (
      .code(s_data[g*C_W +: C_W]), .some(some_in[g*ND +: ND]), .minus(minus_in[g*ND +: ND]));
  end endgenerate

  // The event that is next, one-hot, and the events of the beat behind it: that nothing is left shows in a register.
  reg             have;
  reg  [F*ND-1:0] some, minus;
  reg  [K-1:0]    first, left;
  wire [K-1:0]    keys;
  wire [K-1:0]    keys_rest = keys & (keys - 1'b1);
  wire [K-1:0]    left_rest = left & (left - 1'b1);
  wire            more      = (left != '0);
  reg             a_valid, a_hit, a_end;
  wire            a_ok      = !a_valid || m_ready || !m_valid;
  wire            finished  = have && a_ok && !more;
  assign s_ready = !have || finished;
  wire            load      = s_valid && s_ready;

  reg  [F_W-1:0] lane;
  reg  [D_W-1:0] shift;
  reg  [F-1:0]   mask, neg;
  integer f, d, b;
  generate if (LANE != 0) begin : g_lane
    reg [K-1:0] any_digit;
    always @* begin
      any_digit = '0;
      for (f = 0; f < F; f = f + 1) any_digit = any_digit | some_in[f*ND +: ND];
    end
    assign keys = any_digit;
    always @* begin
      lane = '0; shift = '0; mask = '0; neg = '0;
      for (d = 0; d < ND; d = d + 1) begin
        for (b = 0; b < D_W; b = b + 1) if (((d >> b) & 1) != 0) shift[b] = shift[b] | first[d];
        for (f = 0; f < F; f = f + 1) begin
          mask[f] = mask[f] | (first[d] & some[f*ND + d]);
          neg[f]  = neg[f]  | (first[d] & minus[f*ND + d]);
        end
      end
    end
  end else begin : g_full
    assign keys = some_in;
    wire _unused = &{1'b0, some};
    always @* begin
      lane = '0; shift = '0; mask = '1; neg = {F{|(first & minus)}};
      for (f = 0; f < F; f = f + 1)
        for (d = 0; d < ND; d = d + 1) begin
          for (b = 0; b < F_W; b = b + 1) if (((f >> b) & 1) != 0) lane[b] = lane[b] | first[f*ND + d];
          for (b = 0; b < D_W; b = b + 1) if (((d >> b) & 1) != 0) shift[b] = shift[b] | first[f*ND + d];
        end
    end
  end endgenerate

  // Stage A: the event as a number. A beat without events is one without a hit.
  reg  [F_W-1:0] a_lane;
  reg  [D_W-1:0] a_shift;
  reg  [F-1:0]   a_mask, a_neg;
  always @(posedge clk) begin
    if (load) begin
      some <= some_in; minus <= minus_in;
    end
    if (load || (have && a_ok)) begin
      first <= load ? keys & ~keys_rest : left & ~left_rest;
      left  <= load ? keys_rest : left_rest;
    end
    if (load) have <= 1'b1;
    else if (finished) have <= 1'b0;
    if (a_ok) begin
      a_valid <= have; a_hit <= (first != '0); a_end <= !more;
      a_lane <= lane; a_shift <= shift; a_mask <= mask; a_neg <= neg;
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
