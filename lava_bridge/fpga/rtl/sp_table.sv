// A constant memory, read in two cycles: the second relieves the outputs of a block memory.
`default_nettype none
module sp_table #(
  parameter int W     = 8,
  parameter int DEPTH = 2,
  // verilator lint_off UNUSEDPARAM
  parameter     STYLE = "auto",
  // verilator lint_on UNUSEDPARAM
  parameter     FILE  = "table.mem",
  parameter int A_W   = $clog2(DEPTH)
) (
  input  wire           clk,
  input  wire [A_W-1:0] ra,
  output reg  [W-1:0]   rd
);
  (* ram_style = STYLE, rom_style = STYLE *)
  reg [W-1:0] words [0:DEPTH-1];
  initial $readmemh(FILE, words);
  reg [W-1:0] rd1;
  always @(posedge clk) begin
    rd1 <= words[ra];
    rd  <= rd1;
  end
endmodule
`default_nettype wire
