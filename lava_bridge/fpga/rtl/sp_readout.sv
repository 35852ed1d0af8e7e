// Membranes that never fire: bias once, then out, F a cycle.
`default_nettype none
module sp_readout #(
  parameter int F     = 1,
  parameter int ACC_W = 16,
  parameter int X_W   = 18,
  parameter int ROWS  = 1,
  parameter int BEATS = 1,
  parameter     TABLE = "bias.mem"        // per neuron bias [X_W]
) (
  input  wire               clk,
  input  wire               rst,
  output wire               room,         // one more may be taken
  input  wire               take,
  input  wire               head_valid,   // what was taken is here
  input  wire [F*ACC_W-1:0] head,
  output wire               m_valid,
  input  wire               m_ready,
  output wire [F*X_W-1:0]   m_data,
  output wire               m_last
);
  localparam int R_W = (ROWS > 1) ? $clog2(ROWS) : 1;
  localparam int B_W = (BEATS > 1) ? $clog2(BEATS) : 1;
  reg [F*X_W-1:0] biases [0:ROWS-1];
  initial $readmemh(TABLE, biases);
  reg [R_W-1:0] row;
  reg [B_W-1:0] beat;
  reg [F*X_W-1:0] bias, x;
  reg [F*ACC_W-1:0] v;
  reg valid1, valid2, last1, last2;
  always @(posedge clk) begin
    bias   <= biases[row];
    v      <= head;
    valid1 <= head_valid; valid2 <= valid1;
    last1  <= (beat == B_W'(BEATS - 1)); last2 <= last1;
    if (head_valid) begin
      row  <= (row == R_W'(ROWS - 1)) ? '0 : row + 1'b1;
      beat <= (beat == B_W'(BEATS - 1)) ? '0 : beat + 1'b1;
    end
    if (rst) begin
      row <= '0; beat <= '0; valid1 <= 1'b0; valid2 <= 1'b0;
    end
  end
  genvar j;
  generate for (j = 0; j < F; j = j + 1) begin : g_neuron
    wire signed [ACC_W-1:0] here = v[j*ACC_W +: ACC_W];
    always @(posedge clk) x[j*X_W +: X_W] <= X_W'(here) + bias[j*X_W +: X_W];
  end endgenerate
  sp_outlet #(.W(F*X_W + 1), .DEPTH(16)) u_outlet (
    .clk(clk), .rst(rst), .room(room), .enter(take), .p_valid(valid2), .p_data({last2, x}),
    .m_valid(m_valid), .m_ready(m_ready), .m_data({m_last, m_data}));
endmodule
`default_nettype wire
