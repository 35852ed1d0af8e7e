// Buffer behind a pipeline that never stops: a value enters the pipeline only if the buffer has room for it.
`default_nettype none
module sp_outlet #(
  parameter int W     = 8,
  parameter int DEPTH = 16
) (
  input  wire         clk,
  input  wire         rst,
  output reg          room,               // one more may enter, by the count of a cycle ago
  input  wire         enter,              // one enters
  input  wire         p_valid,            // it leaves the pipeline
  input  wire [W-1:0] p_data,
  output wire         m_valid,
  input  wire         m_ready,
  output wire [W-1:0] m_data
);
  localparam int C_W = $clog2(DEPTH + 1);
  reg [C_W-1:0] held;                     // in the pipeline or the buffer
  wire leave = m_valid && m_ready;
  always @(posedge clk) begin
    if (enter && !leave) held <= held + 1'b1;
    else if (leave && !enter) held <= held - 1'b1;
    room <= (held < C_W'(DEPTH - 1));
    if (rst) begin
      held <= '0; room <= 1'b0;
    end
  end
  wire s_ready;
  wire _unused = &{1'b0, s_ready};        // there is always room for what was let in
  sp_fifo #(.W(W), .DEPTH(DEPTH)) u_buffer (
    .clk(clk), .rst(rst), .s_valid(p_valid), .s_ready(s_ready), .s_data(p_data),
    .m_valid(m_valid), .m_ready(m_ready), .m_data(m_data));
endmodule
`default_nettype wire
