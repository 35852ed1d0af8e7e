// Comparison: a dense layer of an integer network, one multiplier per neuron.
//   code = clamp((sum w*x + bias) >>> SHIFT, 0, 2^X_W - 1)   (the threshold is a power of two: in its favour)
// SKIP = 1: one beat per nonzero input, tdata = {index, value}; a sample of zeros is one beat of value 0.
// SKIP = 0: every input in order, tdata = value. tlast ends the sample. Output: N_OUT/F words of F codes.
// SPLIT = 1 multiplies by the two halves of x and adds them a cycle later: shorter paths without DSP blocks.
`default_nettype none
module mac_dense #(
    parameter int N_IN  = 256,
    parameter int N_OUT = 64,
    parameter int W_W   = 8,
    parameter int ACC_W = 20,
    parameter int X_W   = 4,
    parameter int F     = 8,
    parameter int SHIFT = 6,
    parameter int SKIP  = 1,
    parameter int SPLIT = 0,
    parameter int GROUP = 8,            // lanes that share one copy of a control register
    parameter     WEIGHTS = "weights.mem",
    parameter     BIAS    = "bias.mem",
    parameter int A_W   = $clog2(N_IN),
    parameter int D_W   = (SKIP != 0) ? A_W + X_W : X_W
) (
    input  wire             clk,
    input  wire             rst,
    input  wire             s_axis_tvalid,
    output wire             s_axis_tready,
    input  wire [D_W-1:0]   s_axis_tdata,
    input  wire             s_axis_tlast,
    output reg              m_axis_tvalid,
    input  wire             m_axis_tready,
    output reg  [F*X_W-1:0] m_axis_tdata,
    output reg              m_axis_tlast
);
  localparam int WORDS  = N_OUT / F;
  localparam int CNT_W  = (WORDS > 1) ? $clog2(WORDS) : 1;
  localparam int WORD_W = F * ACC_W;
  localparam int GROUPS = (N_OUT + GROUP - 1) / GROUP;
  localparam int LO_W   = (SPLIT != 0) ? X_W / 2 : X_W;
  localparam int P_W    = W_W + X_W + 1;

  wire e_valid, e_last;
  wire [D_W-1:0] e_data;
  reg  credit;                          // the shadow registers are free, or will be
  wire take = e_valid && (!e_last || credit);
  sp_skid #(.W(D_W + 1)) u_in (
      .clk(clk), .rst(rst), .s_valid(s_axis_tvalid), .s_ready(s_axis_tready),
      .s_data({s_axis_tlast, s_axis_tdata}),
      .m_valid(e_valid), .m_ready(take), .m_data({e_last, e_data}));

  wire [A_W-1:0] index;
  generate
    if (SKIP != 0) begin : g_index
      assign index = e_data[D_W-1 -: A_W];
    end else begin : g_count
      reg [A_W-1:0] count;
      always @(posedge clk) begin
        if (take) count <= e_last ? '0 : count + 1'b1;
        if (rst) count <= '0;
      end
      assign index = count;
    end
  endgenerate

  reg [N_OUT*W_W-1:0] rom [0:N_IN-1];
  initial $readmemh(WEIGHTS, rom);
  reg [N_OUT*W_W-1:0] row, row2, row3;  // the first two may become the block memory's
  always @(posedge clk) begin
    row  <= rom[index];
    row2 <= row;
    row3 <= row2;
  end

  reg first0, add0, opens0, last0, add1, first1, last1, add2, first2, last2, last3, last4, capture;
  reg [X_W-1:0] x0, x1;
  always @(posedge clk) begin
    if (take) first0 <= e_last;
    x0 <= e_data[X_W-1:0]; x1 <= x0;
    add0 <= take; opens0 <= first0; last0 <= take && e_last;
    add1 <= add0; first1 <= opens0; last1 <= last0;
    add2 <= add1; first2 <= first1; last2 <= last1;
    last3 <= last2;
    last4 <= last3;
    capture <= (SPLIT != 0) ? last4 : last3;
    if (rst) begin
      first0 <= 1'b1; add0 <= 1'b0; last0 <= 1'b0; add1 <= 1'b0; add2 <= 1'b0;
      last1 <= 1'b0; last2 <= 1'b0; last3 <= 1'b0; last4 <= 1'b0; capture <= 1'b0;
    end
  end

  wire [N_OUT*ACC_W-1:0] sums;
  genvar g, j;
  generate
    for (g = 0; g < GROUPS; g = g + 1) begin : g_group
      (* keep *) reg [X_W-1:0] x2;
      (* keep *) reg add3, first3;
      always @(posedge clk) begin
        x2 <= x1; add3 <= add2; first3 <= first2;
        if (rst) add3 <= 1'b0;
      end
      wire add, first;
      if (SPLIT != 0) begin : g_later
        (* keep *) reg add4, first4;
        always @(posedge clk) begin
          add4 <= add3; first4 <= first3;
          if (rst) add4 <= 1'b0;
        end
        assign add = add4;
        assign first = first4;
      end else begin : g_now
        assign add = add3;
        assign first = first3;
      end
      for (j = g * GROUP; j < N_OUT && j < (g + 1) * GROUP; j = j + 1) begin : g_lane
        wire signed [W_W-1:0] w = row3[j*W_W +: W_W];
        reg  signed [ACC_W-1:0] v;
        assign sums[j*ACC_W +: ACC_W] = v;
        if (SPLIT != 0) begin : g_split
          reg signed [W_W+LO_W:0] lo;
          reg signed [W_W+X_W-LO_W:0] hi;
          reg signed [P_W-1:0] p;
          always @(posedge clk) begin
            lo <= w * $signed({1'b0, x2[LO_W-1:0]});
            hi <= w * $signed({1'b0, x2[X_W-1:LO_W]});
            p  <= P_W'(lo) + (P_W'(hi) <<< LO_W);
            if (add) v <= (first ? '0 : v) + ACC_W'(p);
          end
        end else begin : g_whole
          reg signed [P_W-1:0] p;
          always @(posedge clk) begin
            p <= w * $signed({1'b0, x2});
            if (add) v <= (first ? '0 : v) + ACC_W'(p);
          end
        end
      end
    end
  endgenerate

  // Requantise F sums a cycle, while the next sample is added up.
  reg [WORD_W-1:0] bias_rom [0:WORDS-1];
  initial $readmemh(BIAS, bias_rom);
  reg [N_OUT*ACC_W-1:0] shadow;
  reg busy, valid1, tail1, valid2, tail2;
  reg [CNT_W-1:0] word;
  reg [WORD_W-1:0] sum1, bias1, sum2;
  wire moves = !m_axis_tvalid || m_axis_tready;
  wire word_last = (word == CNT_W'(WORDS - 1));
  integer q;
  always @(posedge clk) begin
    if (capture) begin
      shadow <= sums; busy <= 1'b1;
    end else if (busy && moves) begin
      shadow <= shadow >> WORD_W;
      if (word_last) busy <= 1'b0;
    end
    if (take && e_last) credit <= 1'b0;
    else if (busy && moves && word_last) credit <= 1'b1;
    if (moves) begin
      if (busy) word <= word_last ? '0 : word + 1'b1;
      valid1 <= busy; tail1 <= word_last;
      sum1 <= shadow[WORD_W-1:0]; bias1 <= bias_rom[word];
      valid2 <= valid1; tail2 <= tail1;
      for (q = 0; q < F; q = q + 1)
        sum2[q*ACC_W +: ACC_W] <= sum1[q*ACC_W +: ACC_W] + bias1[q*ACC_W +: ACC_W];
      m_axis_tvalid <= valid2; m_axis_tlast <= tail2;
      for (q = 0; q < F; q = q + 1)
        m_axis_tdata[q*X_W +: X_W] <= sum2[q*ACC_W + ACC_W - 1] ? '0
            : (|sum2[q*ACC_W + SHIFT + X_W +: ACC_W - SHIFT - X_W]) ? '1
            : sum2[q*ACC_W + SHIFT +: X_W];
    end
    if (rst) begin
      busy <= 1'b0; credit <= 1'b1; word <= '0;
      valid1 <= 1'b0; valid2 <= 1'b0; m_axis_tvalid <= 1'b0;
    end
  end
endmodule
`default_nettype wire
