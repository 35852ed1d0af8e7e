// One stream to N readers; each takes every beat once, in its own time.
`default_nettype none
module sp_fork #(
  parameter int N = 2
) (
  input  wire         clk,
  input  wire         rst,
  input  wire         s_valid,
  output wire         s_ready,
  output wire [N-1:0] m_valid,
  input  wire [N-1:0] m_ready
);
  reg [N-1:0] taken;                      // readers that have this beat already
  assign m_valid = s_valid ? ~taken : '0;
  assign s_ready = &(taken | m_ready);
  always @(posedge clk) begin
    if (s_valid) taken <= s_ready ? '0 : taken | m_ready;
    if (rst) taken <= '0;
  end
endmodule
`default_nettype wire
