// One bank: a read and a write a cycle; a word arrives two cycles after its address. No word is read in the cycle of
// its write with its value used.
`default_nettype none
module sp_membrane_bank #(
  parameter int W     = 8,
  parameter int DEPTH = 2,
  parameter int A_W   = 1,
  parameter     STYLE = "auto"
) (
  input  wire           clk,
  input  wire [A_W-1:0] ra,
  output reg  [W-1:0]   rd,
  input  wire           we,
  input  wire [A_W-1:0] wa,
  input  wire [W-1:0]   wd
);
  // The second register is that of a block memory's output; elsewhere the address is delayed, which takes fewer.
  // verilator lint_off WIDTH
  localparam int BLOCK = (STYLE == "block" || (STYLE == "auto" && DEPTH > 32)) ? 1 : 0;
  // verilator lint_on WIDTH
  (* no_rw_check, ram_style = STYLE *)
  reg [W-1:0] words [0:DEPTH-1];
  generate if (BLOCK != 0) begin : g_block
    reg [W-1:0] word;
    always @(posedge clk) begin
      word <= words[ra]; rd <= word;
    end
  end else begin : g_small
    reg [A_W-1:0] here;
    always @(posedge clk) begin
      here <= ra; rd <= words[here];
    end
  end endgenerate
  always @(posedge clk) if (we) words[wa] <= wd;
endmodule
`default_nettype wire
