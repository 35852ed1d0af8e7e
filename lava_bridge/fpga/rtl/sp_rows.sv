// Rows of a map: a read and a write a cycle. No word is read in the cycle of its write with its value used.
`default_nettype none
module sp_rows #(
  parameter int W     = 8,
  parameter int DEPTH = 2,
  parameter int A_W   = 1,
  // verilator lint_off UNUSEDPARAM
  parameter     STYLE = "auto"
  // verilator lint_on UNUSEDPARAM
) (
  input  wire           clk,
  input  wire           re,
  input  wire [A_W-1:0] ra,
  output reg  [W-1:0]   rd,
  input  wire           we,
  input  wire [A_W-1:0] wa,
  input  wire [W-1:0]   wd
);
  (* no_rw_check, ram_style = STYLE *)
  reg [W-1:0] words [0:DEPTH-1];
  always @(posedge clk) if (re) rd <= words[ra];
  always @(posedge clk) if (we) words[wa] <= wd;
endmodule
`default_nettype wire
