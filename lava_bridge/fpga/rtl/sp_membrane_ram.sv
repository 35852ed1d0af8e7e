// Membranes of a population of several words: two banks, one integrates a window while the other is drained and
// cleared. A word arrives two cycles after its address and its sum is written two cycles later, so the last three sums
// are forwarded. Draining never stops on its way: what is taken arrives two cycles later.
`default_nettype none
module sp_membrane_ram #(
  parameter int L     = 8,
  parameter int F     = 8,
  parameter int DW    = 12,
  parameter int MAX   = 0,                // keep the largest addend instead of the sum
  parameter int ACC_W = 16,
  parameter int DEPTH = 2,
  parameter int VA_W  = 1,
  parameter     STYLE = "auto"
) (
  input  wire               clk,
  input  wire               rst,
  input  wire               early_valid,  // two cycles ahead of the addends
  input  wire [VA_W-1:0]    early_va,
  input  wire               early_bank,
  input  wire [L*DW-1:0]    data,         // addends, zero where there is none
  input  wire [L-1:0]       carry,
  input  wire               commit,       // these addends are the last of the window
  output wire               ready,        // both banks are clear after a reset
  output reg                head_valid,   // there is something to take
  input  wire               take,
  output reg                f_valid,      // what was taken is here
  output wire [F*ACC_W-1:0] head,
  output wire               drained
);
  localparam int A_W = $clog2(DEPTH);
  localparam int SUB = L / F;
  localparam int S_W = (SUB > 1) ? $clog2(SUB) : 1;
  wire _unused = &{1'b0, early_va};
  wire [A_W-1:0] early_a = early_va[A_W-1:0];

  // Update: the address goes out in stage 1, stage 3 adds, stage 4 writes. A word that was read before one of the
  // last three sums was written takes that sum: the latest as it is added, those before it a stage earlier.
  reg             v2, v3, v4, b2, b3, b4, near2, near3, far2, farther2, commit4;
  reg             use0, use1;             // the banks' words count
  reg [A_W-1:0]   a2, a3, a4;
  reg [L*ACC_W-1:0] sum4, sum5, old3;
  wire same2 = v2 && (a2 == early_a) && (b2 == early_bank);
  wire same3 = v3 && (a3 == early_a) && (b3 == early_bank);
  wire same4 = v4 && (a4 == early_a) && (b4 == early_bank);
  always @(posedge clk) begin
    v2 <= early_valid; a2 <= early_a; b2 <= early_bank;
    v3 <= v2; a3 <= a2; b3 <= b2;
    v4 <= v3; a4 <= a3; b4 <= b3;
    near2 <= same2; far2 <= same3; farther2 <= same4;
    near3 <= near2;
    use0 <= !b2 && !far2 && !farther2;
    use1 <= b2 && !far2 && !farther2;
    old3 <= far2 ? sum4 : farther2 ? sum5 : '0;
    sum5 <= sum4; commit4 <= commit;
    if (rst) begin
      v2 <= 1'b0; v3 <= 1'b0; v4 <= 1'b0; commit4 <= 1'b0;
    end
  end

  // Drain: the words of the finished bank in order, F neurons at a time; each is cleared two cycles after it was taken.
  reg             bank;                   // the one that is drained next
  reg [A_W-1:0]   word;
  reg [S_W-1:0]   sub;
  reg             clear1, clear2;
  reg [A_W-1:0]   clear1_a, clear2_a;
  reg             taken, bank1, bank2, start1, start2;
  wire last_sub  = (sub == S_W'(SUB - 1));
  wire last_word = (word == A_W'(DEPTH - 1));
  assign drained = take && last_sub && last_word;

  // After a reset all words are cleared.
  reg             wiping;
  reg [A_W-1:0]   wipe_a;
  assign ready = !wiping;

  wire [L*ACC_W-1:0] rd0, rd1;
  wire put0 = v4 && !b4, put1 = v4 && b4;
  wire zero0 = wiping || (clear2 && !bank2), zero1 = wiping || (clear2 && bank2);
  wire [A_W-1:0] zero_a = wiping ? wipe_a : clear2_a;
  sp_membrane_bank #(.W(L*ACC_W), .DEPTH(DEPTH), .A_W(A_W), .STYLE(STYLE)) u_bank0 (
    .clk(clk), .ra((early_valid && !early_bank) ? early_a : word), .rd(rd0),
    .we(put0 || zero0), .wa(zero0 ? zero_a : a4), .wd(zero0 ? '0 : sum4));
  sp_membrane_bank #(.W(L*ACC_W), .DEPTH(DEPTH), .A_W(A_W), .STYLE(STYLE)) u_bank1 (
    .clk(clk), .ra((early_valid && early_bank) ? early_a : word), .rd(rd1),
    .we(put1 || zero1), .wa(zero1 ? zero_a : a4), .wd(zero1 ? '0 : sum4));

  wire [L*ACC_W-1:0] known = old3 | (rd0 & {L*ACC_W{use0}}) | (rd1 & {L*ACC_W{use1}});
  genvar j;
  generate for (j = 0; j < L; j = j + 1) begin : g_lane
    wire signed [DW-1:0]    d    = data[j*DW +: DW];
    wire signed [ACC_W-1:0] wide = ACC_W'(d);
    wire [ACC_W-1:0] base = near3 ? sum4[j*ACC_W +: ACC_W] : known[j*ACC_W +: ACC_W];
    wire [ACC_W:0]   sum  = {base, 1'b1} + {wide, carry[j]};         // the lowest bit makes the carry
    wire [ACC_W-1:0] next = (MAX == 0) ? sum[ACC_W:1] : (base > wide) ? base : wide;
    always @(posedge clk) sum4[j*ACC_W +: ACC_W] <= next;
    wire _unused_bit = &{1'b0, sum[0]};
  end endgenerate

  wire [L*ACC_W-1:0] fresh = bank2 ? rd1 : rd0;
  wire [L*ACC_W-1:0] here;
  generate if (SUB > 1) begin : g_serial
    reg [L*ACC_W-1:0] rest;
    always @(posedge clk) if (f_valid) rest <= here >> (F * ACC_W);
    assign here = start2 ? fresh : rest;
  end else begin : g_whole
    assign here = fresh;
    wire _unused_start = &{1'b0, start2};
  end endgenerate
  assign head = here[F*ACC_W-1:0];
  always @(posedge clk) begin
    taken <= take; bank1 <= bank; start1 <= (sub == '0);
    f_valid <= taken; bank2 <= bank1; start2 <= start1;
    clear1 <= take && (sub == '0); clear1_a <= word;
    clear2 <= clear1; clear2_a <= clear1_a;
    if (commit4) begin
      word <= '0; sub <= '0; head_valid <= 1'b1;
    end else if (take) begin
      sub <= last_sub ? '0 : sub + 1'b1;
      if (last_sub) word <= word + 1'b1;
      if (drained) head_valid <= 1'b0;
    end
    if (drained) bank <= !bank;
    if (wiping) begin
      wipe_a <= wipe_a + 1'b1;
      wiping <= (wipe_a != A_W'(DEPTH - 1));
    end
    if (rst) begin
      head_valid <= 1'b0; taken <= 1'b0; f_valid <= 1'b0; bank <= 1'b0;
      clear1 <= 1'b0; clear2 <= 1'b0; wiping <= 1'b1; wipe_a <= '0;
      word <= '0; sub <= '0;
    end
  end
endmodule
`default_nettype wire
