// First-in first-out buffer with valid/ready at both ends; s_ready and m_data come from registers.
// Holds DEPTH + 1 words. Memory of more than a few words maps to distributed or block RAM.
`default_nettype none
module sp_fifo #(
  parameter int W     = 8,
  parameter int DEPTH = 2
) (
  input  wire         clk,
  input  wire         rst,
  input  wire         s_valid,
  output wire         s_ready,
  input  wire [W-1:0] s_data,
  output reg          m_valid,
  input  wire         m_ready,
  output reg  [W-1:0] m_data
);
  localparam int AW = (DEPTH > 1) ? $clog2(DEPTH) : 1;
  localparam int CW = $clog2(DEPTH + 1);
  // A word is read one cycle after its write at the earliest, so the order of a collision never matters.
  (* no_rw_check *)
  reg [W-1:0]  store [0:DEPTH-1];
  reg [AW-1:0] head, tail;
  reg [CW-1:0] count;
  reg          full;
  wire push = s_valid && s_ready;
  wire pop  = (count != '0) && (!m_valid || m_ready);
  assign s_ready = !full;

  always @(posedge clk) if (push) store[tail] <= s_data;
  always @(posedge clk) if (pop) m_data <= store[head];
  always @(posedge clk) begin
    if (push) tail <= (tail == AW'(DEPTH - 1)) ? '0 : tail + 1'b1;
    if (pop)  head <= (head == AW'(DEPTH - 1)) ? '0 : head + 1'b1;
    if (push && !pop) begin
      count <= count + 1'b1;
      full  <= (count == CW'(DEPTH - 1));
    end else if (pop && !push) begin
      count <= count - 1'b1;
      full  <= 1'b0;
    end
    if (pop) m_valid <= 1'b1;
    else if (m_ready) m_valid <= 1'b0;
    if (rst) begin
      head <= '0; tail <= '0; count <= '0; full <= 1'b0; m_valid <= 1'b0;
    end
  end
endmodule
`default_nettype wire
