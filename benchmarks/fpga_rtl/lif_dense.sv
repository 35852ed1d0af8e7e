// Comparison: a dense layer of leaky integrate-and-fire neurons, driven by the same events as SpikePack.
//   v <- (spiked ? 0 : v >>> 1) + sum of the weights of the step's events;  spike = v >= THETA
// All N_OUT neurons add in one cycle, every neuron has a comparator, a step fires while the next one runs.
// Input: one beat per event, tdata = input index, tuser = {last beat of its step, event}; a step without
// events is one beat with event = 0. Output: per step N_OUT/F words of F spikes; tlast ends the sample.
`default_nettype none
module lif_dense #(
    parameter int N_IN  = 256,
    parameter int N_OUT = 64,
    parameter int W_W   = 8,
    parameter int ACC_W = 17,
    parameter int T     = 4,
    parameter int F     = 8,
    parameter int THETA = 64,
    parameter int GROUP = 8,            // lanes that share one copy of a control register
    parameter     WEIGHTS = "weights.mem",
    parameter int A_W   = $clog2(N_IN)
) (
    input  wire           clk,
    input  wire           rst,
    input  wire           s_axis_tvalid,
    output wire           s_axis_tready,
    input  wire [A_W-1:0] s_axis_tdata,
    input  wire [1:0]     s_axis_tuser,
    output wire           m_axis_tvalid,
    input  wire           m_axis_tready,
    output wire [F-1:0]   m_axis_tdata,
    output wire           m_axis_tlast
);
  localparam int WORDS  = N_OUT / F;
  localparam int CNT_W  = $clog2(WORDS + 1);
  localparam int T_W    = (T > 1) ? $clog2(T) : 1;
  localparam int GROUPS = (N_OUT + GROUP - 1) / GROUP;

  wire e_valid, e_spike, e_end;
  wire [A_W-1:0] e_index;
  reg  credit;                          // the plane buffer is free, or will be
  reg  pause;                           // the cycle in which a step's sums are compared
  wire take = e_valid && !pause && (!e_end || credit);
  sp_skid #(.W(A_W + 2)) u_in (
      .clk(clk), .rst(rst), .s_valid(s_axis_tvalid), .s_ready(s_axis_tready),
      .s_data({s_axis_tuser, s_axis_tdata}),
      .m_valid(e_valid), .m_ready(take), .m_data({e_end, e_spike, e_index}));

  reg [N_OUT*W_W-1:0] rom [0:N_IN-1];
  initial $readmemh(WEIGHTS, rom);
  reg [N_OUT*W_W-1:0] row;
  always @(posedge clk) row <= rom[e_index];

  reg first0, fresh0;                   // the next beat opens a step, a sample
  reg [T_W-1:0] step;
  reg add1, first1, fresh1, end1, last1, end2, last2, end3, last3, end4, last4;
  wire last_step = (step == T_W'(T - 1));
  always @(posedge clk) begin
    pause <= take && e_end;
    if (take) begin
      first0 <= e_end;
      fresh0 <= e_end && last_step;
      if (e_end) step <= last_step ? '0 : step + 1'b1;
    end
    add1   <= take;
    first1 <= first0; fresh1 <= fresh0;
    end1   <= take && e_end; last1 <= last_step;
    end2   <= end1; last2 <= last1;
    end3   <= end2; last3 <= last2;
    end4   <= end3; last4 <= last3;
    if (rst) begin
      pause <= 1'b0; first0 <= 1'b1; fresh0 <= 1'b1; step <= '0;
      add1 <= 1'b0; end1 <= 1'b0; end2 <= 1'b0; end3 <= 1'b0; end4 <= 1'b0;
    end
  end
  wire [N_OUT-1:0] spiked;
  genvar g, j;
  generate
    for (g = 0; g < GROUPS; g = g + 1) begin : g_group
      // A step without events still halves the potential: its beat is an event of weight zero.
      (* keep *) reg zero1, zero2, add2, first2, fresh2, fire3;
      always @(posedge clk) begin
        zero1 <= !e_spike; zero2 <= zero1; add2 <= add1; first2 <= first1; fresh2 <= fresh1; fire3 <= end2;
        if (rst) begin add2 <= 1'b0; fire3 <= 1'b0; end
      end
      for (j = g * GROUP; j < N_OUT && j < (g + 1) * GROUP; j = j + 1) begin : g_lane
        reg  signed [W_W-1:0] w;
        reg  signed [ACC_W-1:0] v;
        reg  spike;
        wire signed [W_W-1:0] used = w & {W_W{!zero2}};
        wire signed [ACC_W-1:0] half = v >>> 1;
        wire signed [ACC_W-1:0] base = first2 ? ((fresh2 || spike) ? '0 : half) : v;
        always @(posedge clk) begin
          w <= row[j*W_W +: W_W];       // a plain register: it may become the block memory's
          if (add2) v <= base + ACC_W'(used);
          if (fire3) spike <= (v >= $signed(ACC_W'(THETA)));
        end
        assign spiked[j] = spike;
      end
    end
  endgenerate

  reg [N_OUT-1:0] plane;
  reg [CNT_W-1:0] left;
  reg plane_last;
  wire moves = m_axis_tvalid && m_axis_tready;
  always @(posedge clk) begin
    if (end4) begin
      plane <= spiked; left <= CNT_W'(WORDS); plane_last <= last4;
    end else if (moves) begin
      plane <= plane >> F; left <= left - 1'b1;
    end
    if (take && e_end) credit <= 1'b0;
    else if (moves && left == CNT_W'(1)) credit <= 1'b1;
    if (rst) begin left <= '0; credit <= 1'b1; end
  end
  assign m_axis_tvalid = (left != '0);
  assign m_axis_tdata  = plane[F-1:0];
  assign m_axis_tlast  = plane_last && (left == CNT_W'(1));
endmodule
`default_nettype wire
