// Membranes -> codes, F a cycle: bias and rounding offset once, then T stages compare with the threshold, most
// significant digit first, and subtract it where a spike fires (soft reset). Signed populations fire on the
// magnitude. What is left after T digits saturates by itself: all digits are one.
`default_nettype none
module sp_fire #(
  parameter int F      = 8,
  parameter int ACC_W  = 16,              // membrane without bias
  parameter int X_W    = 18,              // with bias and offset, and holds the largest threshold
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int TH_W   = 8,
  parameter int ROWS   = 1,               // lines of the parameter table, walked through again and again
  parameter int BEATS  = 1,               // beats of a window
  parameter int AHEAD  = 0,               // cycles from take to head
  parameter     TABLE  = "fire.mem",      // per neuron {bias [X_W], offset [TH_W], threshold [TH_W]}
  parameter int C_W    = T + SIGNED
) (
  input  wire               clk,
  input  wire               rst,
  output wire               room,         // one more may be taken
  input  wire               take,
  input  wire               head_valid,   // what was taken is here
  input  wire [F*ACC_W-1:0] head,
  output wire               m_valid,
  input  wire               m_ready,
  output wire [F*C_W-1:0]   m_data,
  output wire               m_last
);
  localparam int DEEP    = (ROWS > 16) ? 1 : 0;   // a block memory, whose output wants a register
  localparam int LATENCY = T + 3 + DEEP;
  localparam int DEPTH   = (LATENCY + AHEAD < 11) ? 16 : 32;
  localparam int E_W     = X_W + 2*TH_W;
  localparam int R_W     = (ROWS > 1) ? $clog2(ROWS) : 1;
  localparam int B_W     = (BEATS > 1) ? $clog2(BEATS) : 1;

  reg [F*E_W-1:0] entries [0:ROWS-1];
  initial $readmemh(TABLE, entries);
  reg [R_W-1:0] row;
  reg [B_W-1:0] beat;
  reg [F*E_W-1:0] entry1;
  reg [F*ACC_W-1:0] head1;
  reg [LATENCY:1] valid;
  reg [LATENCY:1] last;
  always @(posedge clk) begin
    entry1 <= entries[row]; head1 <= head;
    valid <= {valid[LATENCY-1:1], head_valid};
    last  <= {last[LATENCY-1:1], beat == B_W'(BEATS - 1)};
    if (head_valid) begin
      row  <= (row == R_W'(ROWS - 1)) ? '0 : row + 1'b1;
      beat <= (beat == B_W'(BEATS - 1)) ? '0 : beat + 1'b1;
    end
    if (rst) begin
      row <= '0; beat <= '0; valid <= '0;
    end
  end

  wire [F*E_W-1:0]   entry;
  wire [F*ACC_W-1:0] heads;
  generate if (DEEP != 0) begin : g_deep
    reg [F*E_W-1:0]   entry2;
    reg [F*ACC_W-1:0] head2;
    always @(posedge clk) begin
      entry2 <= entry1; head2 <= head1;
    end
    assign entry = entry2; assign heads = head2;
  end else begin : g_shallow
    assign entry = entry1; assign heads = head1;
  end endgenerate
  wire [F*C_W-1:0] codes;
  genvar j, t;
  generate for (j = 0; j < F; j = j + 1) begin : g_neuron
    wire [X_W-1:0]  bias;
    wire [TH_W-1:0] offset, theta;
    assign {bias, offset, theta} = entry[j*E_W +: E_W];
    wire signed [ACC_W-1:0] v = heads[j*ACC_W +: ACC_W];
    // Bias; then magnitude and offset. An addend's lowest extra bit makes the carry.
    reg  [X_W-1:0]  x2, x3;
    reg  [TH_W-1:0] offset2, theta2;
    reg             sign3;
    wire negative = (SIGNED != 0) && x2[X_W-1];
    wire [X_W:0] rounded = {x2 ^ {X_W{negative}}, 1'b1} + {X_W'(offset2), negative};
    wire _unused_bit = &{1'b0, rounded[0]};
    always @(posedge clk) begin
      x2 <= X_W'(v) + bias; offset2 <= offset; theta2 <= theta;
      x3 <= rounded[X_W:1]; sign3 <= negative;
    end
    // T stages, one digit each.
    wire [X_W-1:0]  rest  [0:T];
    wire [TH_W-1:0] thr   [0:T];
    wire [T-1:0]    digit [0:T];
    wire [T:0]      sign;
    reg  [TH_W-1:0] theta3;
    always @(posedge clk) theta3 <= theta2;
    assign rest[0] = x3; assign thr[0] = theta3; assign digit[0] = '0; assign sign[0] = sign3;
    for (t = 0; t < T; t = t + 1) begin : g_digit
      wire [X_W-1:0] threshold = X_W'(thr[t]) << (T - 1 - t);
      wire [X_W-1:0] after     = rest[t] - threshold;
      wire spike = !after[X_W-1] && !rest[t][X_W-1];
      reg  [X_W-1:0]  rest_q;
      reg  [TH_W-1:0] thr_q;
      reg  [T-1:0]    digit_q;
      reg             sign_q;
      always @(posedge clk) begin
        rest_q  <= spike ? after : rest[t];
        thr_q   <= thr[t];
        digit_q <= (digit[t] << 1) | T'(spike);
        sign_q  <= sign[t];
      end
      assign rest[t+1] = rest_q; assign thr[t+1] = thr_q; assign digit[t+1] = digit_q; assign sign[t+1] = sign_q;
    end
    wire _unused = &{1'b0, rest[T], thr[T], digit[T], sign[T]};
    if (SIGNED != 0) begin : g_signed     // no negative zero
      assign codes[j*C_W +: C_W] = {sign[T] && (digit[T] != '0), digit[T]};
    end else begin : g_unsigned
      assign codes[j*C_W +: C_W] = digit[T];
    end
  end endgenerate

  sp_outlet #(.W(F*C_W + 1), .DEPTH(DEPTH)) u_outlet (
    .clk(clk), .rst(rst), .room(room), .enter(take), .p_valid(valid[LATENCY]), .p_data({last[LATENCY], codes}),
    .m_valid(m_valid), .m_ready(m_ready), .m_data({m_last, m_data}));
endmodule
`default_nettype wire
