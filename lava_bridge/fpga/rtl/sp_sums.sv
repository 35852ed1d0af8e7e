// Slices -> membranes: a slice picks the sum of its taps' weights, shifts it by the digit's place and adds it to the
// L membranes of a window, which are registers. Tables hold the sums of all subsets of Q taps; a tree of adders,
// registered at every level, joins them. Nothing is multiplied.
`default_nettype none
module sp_sums #(
  parameter int P      = 9,               // taps of a slice
  parameter int Q      = 3,               // taps of a table
  parameter int ND     = 4,
  parameter int SIGNED = 0,               // the topmost digit counts negative
  parameter int L      = 8,
  parameter int ROWS   = 1,               // slices with weights of their own
  parameter int T_W    = 10,              // width of a table's sums
  parameter int S_W    = 12,              // width of the sum of a slice
  parameter int DW     = 15,              // width of an addend
  parameter int ACC_W  = 16,
  parameter     STYLE  = "auto",
  parameter     TABLES = "sums",          // files TABLES_00.mem, TABLES_01.mem, ...
  parameter int LEVELS = 2,               // of the tree: clog2 of the number of tables
  parameter int D_W    = (ND > 1) ? $clog2(ND) : 1,
  parameter int R_W    = (ROWS > 1) ? $clog2(ROWS) : 1
) (
  input  wire               clk,
  input  wire               rst,
  input  wire               s_valid,
  input  wire               s_first,
  input  wire               s_last,
  input  wire [P-1:0]       s_mask,
  input  wire [D_W-1:0]     s_shift,
  input  wire [R_W-1:0]     s_row,
  output reg                m_valid,
  output wire [L*ACC_W-1:0] m_data
);
  localparam int NT   = (P + Q - 1) / Q;
  localparam int A_W  = $clog2(ROWS << Q);
  localparam int LAST = 3 + LEVELS;       // stage behind which the sum of a slice stands
  // Stage 1: addresses. Stage 2: the tables. Stage 3: their outputs. Then the tree, a level a stage.
  reg [NT*Q-1:0]   mask1;
  reg [R_W-1:0]    row1;
  reg [LAST:1]     valid, first, last;
  reg [D_W-1:0]    shift [1:LAST];
  integer s;
  always @(posedge clk) begin
    mask1 <= (NT*Q)'(s_mask); row1 <= s_row;
    valid <= {valid[LAST-1:1], s_valid};
    first <= {first[LAST-1:1], s_first};
    last  <= {last[LAST-1:1], s_last};
    shift[1] <= s_shift;
    for (s = 2; s <= LAST; s = s + 1) shift[s] <= shift[s-1];
    if (rst) valid <= '0;
  end

  genvar j, l, n;
  generate for (l = 0; l <= LEVELS; l = l + 1) begin : g_level
    localparam int N = (NT + (1 << l) - 1) >> l;
    localparam int W = (T_W + l < S_W) ? T_W + l : S_W;
    wire [N*L*W-1:0] sum;
    for (n = 0; n < N; n = n + 1) begin : g_node
      if (l == 0) begin : g_table
        localparam [15:0] NUMBER = {8'(48 + n / 10), 8'(48 + n % 10)};
        sp_table #(.W(L*T_W), .DEPTH(ROWS << Q), .STYLE(STYLE), .FILE({TABLES, "_", NUMBER, ".mem"})) u_table (
          .clk(clk), .ra(A_W'({row1, mask1[n*Q +: Q]})), .rd(sum[n*L*W +: L*W]));
      end else if (2*n + 1 < ((NT + (1 << (l-1)) - 1) >> (l-1))) begin : g_pair
        localparam int V = (T_W + l - 1 < S_W) ? T_W + l - 1 : S_W;
        for (j = 0; j < L; j = j + 1) begin : g_lane
          wire signed [V-1:0] a = g_level[l-1].sum[(2*n*L + j)*V +: V];
          wire signed [V-1:0] b = g_level[l-1].sum[((2*n + 1)*L + j)*V +: V];
          reg  signed [W-1:0] c;
          always @(posedge clk) c <= W'(a) + W'(b);
          assign sum[(n*L + j)*W +: W] = c;
        end
      end else begin : g_alone
        localparam int V = (T_W + l - 1 < S_W) ? T_W + l - 1 : S_W;
        for (j = 0; j < L; j = j + 1) begin : g_lane
          wire signed [V-1:0] a = g_level[l-1].sum[(2*n*L + j)*V +: V];
          reg  signed [W-1:0] c;
          always @(posedge clk) c <= W'(a);
          assign sum[(n*L + j)*W +: W] = c;
        end
      end
    end
  end endgenerate

  // The addend, zero where there is none, then the membrane.
  localparam int U_W = (T_W + LEVELS < S_W) ? T_W + LEVELS : S_W;
  wire minus = (SIGNED != 0) && (shift[LAST] == D_W'(ND - 1));
  reg  first_x, last_x, carry;
  always @(posedge clk) begin
    first_x <= valid[LAST] && first[LAST];
    last_x  <= valid[LAST] && last[LAST];
    carry   <= valid[LAST] && minus;
    m_valid <= last_x;
    if (rst) begin
      last_x <= 1'b0; m_valid <= 1'b0;
    end
  end
  generate for (j = 0; j < L; j = j + 1) begin : g_membrane
    wire signed [U_W-1:0] total = g_level[LEVELS].sum[j*U_W +: U_W];
    wire signed [DW-1:0] wide  = DW'(total);
    reg  signed [DW-1:0] x;
    reg  [ACC_W-1:0]     acc;
    wire [ACC_W-1:0]     from = first_x ? '0 : acc;
    wire [ACC_W:0]       next = {from, 1'b1} + {ACC_W'(x), carry};   // the lowest bit makes the carry
    wire _unused = &{1'b0, next[0]};
    always @(posedge clk) begin
      x <= (wide <<< shift[LAST]) ^ {DW{minus}};
      if (!valid[LAST]) x <= '0;
      acc <= next[ACC_W:1];
    end
    assign m_data[j*ACC_W +: ACC_W] = acc;
  end endgenerate
endmodule
`default_nettype wire
