// Two-entry buffer: neither valid nor ready passes through combinationally, and a word a cycle still does.
`default_nettype none
module sp_skid #(
  parameter int W = 8
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
  reg         full;                       // the second entry
  reg [W-1:0] held;
  assign s_ready = !full;
  always @(posedge clk) begin
    if (!full) held <= s_data;
    if (!m_valid || m_ready) begin
      m_valid <= full || s_valid; m_data <= full ? held : s_data; full <= 1'b0;
    end else if (s_valid) full <= 1'b1;
    if (rst) begin
      m_valid <= 1'b0; full <= 1'b0;
    end
  end
endmodule
`default_nettype wire
