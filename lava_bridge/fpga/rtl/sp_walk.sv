// Where a beat stands in its window: rows, columns, channels innermost; base addresses grow along the channels.
`default_nettype none
module sp_walk #(
  parameter int BEATS = 1,                // beats of a position
  parameter int COLS  = 1,
  parameter int ROWS  = 1,
  parameter int SUBS  = 1,                // beats that share base addresses
  parameter int SUB0  = 0,                // where the first beat stands among them
  parameter int WSTEP = 0,                // weight address, from one base to the next
  parameter int VSTEP = 0,                // membrane address, likewise
  parameter int WA_W  = 1,
  parameter int VA_W  = 1,
  parameter int X_W   = (COLS > 1) ? $clog2(COLS) : 1,
  parameter int Y_W   = (ROWS > 1) ? $clog2(ROWS) : 1,
  parameter int S_W   = (SUBS > 1) ? $clog2(SUBS) : 1
) (
  input  wire            clk,
  input  wire            rst,
  input  wire            step,
  output reg  [Y_W-1:0]  row,
  output reg  [X_W-1:0]  col,
  output reg  [S_W-1:0]  sub,
  output reg  [WA_W-1:0] wbase,
  output reg  [VA_W-1:0] vbase,
  output wire            last             // last beat of the window
);
  localparam int B_W = (BEATS > 1) ? $clog2(BEATS) : 1;
  reg  [B_W-1:0] beat;
  wire last_beat = (beat == B_W'(BEATS - 1));
  wire last_col  = (col == X_W'(COLS - 1));
  wire last_row  = (row == Y_W'(ROWS - 1));
  wire last_sub  = (sub == S_W'(SUBS - 1));
  assign last = last_beat && last_col && last_row;
  always @(posedge clk) begin
    if (step) begin
      beat <= last_beat ? '0 : beat + 1'b1;
      sub  <= last_beat ? S_W'(SUB0) : last_sub ? '0 : sub + 1'b1;
      if (last_beat) begin
        wbase <= '0; vbase <= '0;
        col   <= last_col ? '0 : col + 1'b1;
        if (last_col) row <= last_row ? '0 : row + 1'b1;
      end else if (last_sub) begin
        wbase <= wbase + WA_W'(WSTEP);
        vbase <= vbase + VA_W'(VSTEP);
      end
    end
    if (rst) begin
      beat <= '0; sub <= S_W'(SUB0); col <= '0; row <= '0; wbase <= '0; vbase <= '0;
    end
  end
endmodule
`default_nettype wire
