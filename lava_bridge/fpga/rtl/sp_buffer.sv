// First-in first-out buffer of any depth. A deep one is a block memory, whose output wants a register: what is read
// enters a small buffer behind it, where there must be room before it is read.
`default_nettype none
module sp_buffer #(
  parameter int W     = 8,
  parameter int DEPTH = 2
) (
  input  wire         clk,
  input  wire         rst,
  input  wire         s_valid,
  output wire         s_ready,
  input  wire [W-1:0] s_data,
  output wire         m_valid,
  input  wire         m_ready,
  output wire [W-1:0] m_data
);
  generate if (DEPTH <= 64) begin : g_shallow
    sp_fifo #(.W(W), .DEPTH(DEPTH)) u_fifo (
      .clk(clk), .rst(rst), .s_valid(s_valid), .s_ready(s_ready), .s_data(s_data),
      .m_valid(m_valid), .m_ready(m_ready), .m_data(m_data));
  end else begin : g_deep
    localparam int A_W = $clog2(DEPTH);
    localparam int C_W = $clog2(DEPTH + 1);
    // A word is read one cycle after its write at the earliest, so the order of a collision never matters.
    (* no_rw_check *)
    reg [W-1:0]   store [0:DEPTH-1];
    reg [W-1:0]   word, word_q;
    reg [A_W-1:0] head, tail;
    reg [C_W-1:0] count;
    reg           full, some, read1, read2;
    wire room;
    wire push = s_valid && !full;
    wire pop  = some && room;
    assign s_ready = !full;
    always @(posedge clk) if (push) store[tail] <= s_data;
    always @(posedge clk) begin
      word <= store[head]; word_q <= word;
      read1 <= pop; read2 <= read1;
      if (push) tail <= (tail == A_W'(DEPTH - 1)) ? '0 : tail + 1'b1;
      if (pop)  head <= (head == A_W'(DEPTH - 1)) ? '0 : head + 1'b1;
      if (push && !pop) begin
        count <= count + 1'b1; some <= 1'b1;
        full  <= (count == C_W'(DEPTH - 1));
      end else if (pop && !push) begin
        count <= count - 1'b1; some <= (count != C_W'(1));
        full  <= 1'b0;
      end
      if (rst) begin
        head <= '0; tail <= '0; count <= '0; full <= 1'b0; some <= 1'b0; read1 <= 1'b0; read2 <= 1'b0;
      end
    end
    sp_outlet #(.W(W), .DEPTH(8)) u_outlet (
      .clk(clk), .rst(rst), .room(room), .enter(pop), .p_valid(read2), .p_data(word_q),
      .m_valid(m_valid), .m_ready(m_ready), .m_data(m_data));
  end endgenerate
endmodule
`default_nettype wire
