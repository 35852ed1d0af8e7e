// Neurons (T > 0), readouts (T = 0) or, with MAX, running maxima that leave as they are: NP projections add to the
// membranes in any order, one operation a cycle; when every projection has delivered its window, the membranes are
// handed to the firing side and the next window begins.
`default_nettype none
module sp_population #(
  parameter int NP     = 1,
  parameter int L      = 8,
  parameter int F      = 8,
  parameter int DW     = 12,
  parameter int ACC_W  = 16,
  parameter int DEPTH  = 1,               // membrane words
  parameter int VA_W   = 1,
  parameter int X_W    = 18,
  parameter int MAX    = 0,
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int TH_W   = 8,
  parameter int ROWS   = 1,
  parameter     STYLE  = "auto",
  parameter     TABLE  = "fire.mem",
  parameter int M_W    = F * ((MAX != 0) ? ACC_W : (T > 0) ? T + SIGNED : X_W)
) (
  input  wire               clk,
  input  wire               rst,
  input  wire [NP-1:0]      op_valid,
  input  wire [NP-1:0]      op_eow,
  output wire [NP-1:0]      op_ready,
  input  wire [NP-1:0]      early_valid,
  input  wire [NP*VA_W-1:0] early_va,
  input  wire [NP*L*DW-1:0] data,
  input  wire [NP*L-1:0]    carry,
  output wire               m_valid,
  input  wire               m_ready,
  output wire [M_W-1:0]     m_data,
  output wire               m_last
);
  localparam int BEATS = DEPTH * (L / F);
  wire ready, drained;

  // Stage 0: the first projection that has something goes. The window's last operation waits for the firing side.
  reg  [NP-1:0] done;
  reg           waiting;                  // a finished window is not drained yet
  wire [NP-1:0] can    = op_valid & ~done;
  wire [NP-1:0] choice = can & (~can + 1'b1);
  wire          ends   = |(choice & op_eow);
  wire          commit = ends && (&(done | choice));
  wire          go     = ready && !(commit && waiting);
  assign op_ready = go ? choice : '0;
  reg commit1, commit2, commit3, bank0, bank1;
  always @(posedge clk) begin
    if (go && ends) done <= commit ? '0 : done | choice;
    if (go && commit) begin
      waiting <= 1'b1; bank0 <= !bank0;
    end else if (drained) waiting <= 1'b0;
    commit1 <= go && commit; commit2 <= commit1; commit3 <= commit2;
    bank1 <= bank0;
    if (rst) begin
      done <= '0; waiting <= 1'b0; bank0 <= 1'b0; commit1 <= 1'b0; commit2 <= 1'b0; commit3 <= 1'b0;
    end
  end

  // Only the projection that was chosen three cycles ago is not zero.
  reg  [L*DW-1:0] sum_data;
  reg  [L-1:0]    sum_carry;
  reg  [VA_W-1:0] sum_va;
  integer p;
  always @* begin
    sum_data = '0; sum_carry = '0; sum_va = '0;
    for (p = 0; p < NP; p = p + 1) begin
      sum_data  = sum_data | data[p*L*DW +: L*DW];
      sum_carry = sum_carry | carry[p*L +: L];
      if (early_valid[p]) sum_va = sum_va | early_va[p*VA_W +: VA_W];
    end
  end

  localparam int AHEAD = (DEPTH == 1) ? 1 : 2;    // cycles from take to head
  wire waits, room, take, head_valid;
  assign take = waits && room;
  wire [F*ACC_W-1:0] head;
  generate if (DEPTH == 1) begin : g_reg
    sp_membrane_reg #(.L(L), .F(F), .DW(DW), .MAX(MAX), .ACC_W(ACC_W)) u_membrane (
      .clk(clk), .rst(rst), .data(sum_data), .carry(sum_carry), .commit(commit3), .ready(ready),
      .head_valid(waits), .take(take), .f_valid(head_valid), .head(head), .drained(drained));
    wire _unused = &{1'b0, sum_va, bank1};
  end else begin : g_ram
    sp_membrane_ram #(.L(L), .F(F), .DW(DW), .MAX(MAX), .ACC_W(ACC_W), .DEPTH(DEPTH), .VA_W(VA_W),
                     .STYLE(STYLE)) u_membrane (
      .clk(clk), .rst(rst), .early_valid(|early_valid), .early_va(sum_va), .early_bank(bank1), .data(sum_data),
      .carry(sum_carry), .commit(commit3), .ready(ready), .head_valid(waits), .take(take), .f_valid(head_valid),
      .head(head), .drained(drained));
  end endgenerate
  generate if (MAX != 0) begin : g_max
    localparam int B_W = (BEATS > 1) ? $clog2(BEATS) : 1;
    reg [B_W-1:0] beat;
    wire last = (beat == B_W'(BEATS - 1));
    always @(posedge clk) begin
      if (head_valid) beat <= last ? '0 : beat + 1'b1;
      if (rst) beat <= '0;
    end
    sp_outlet #(.W(M_W + 1), .DEPTH(8)) u_outlet (
      .clk(clk), .rst(rst), .room(room), .enter(take), .p_valid(head_valid), .p_data({last, head}),
      .m_valid(m_valid), .m_ready(m_ready), .m_data({m_last, m_data}));
  end else if (T > 0) begin : g_fire
    sp_fire #(.F(F), .ACC_W(ACC_W), .X_W(X_W), .T(T), .SIGNED(SIGNED), .TH_W(TH_W), .ROWS(ROWS), .BEATS(BEATS),
              .AHEAD(AHEAD), .TABLE(TABLE)) u_fire (
      .clk(clk), .rst(rst), .room(room), .take(take), .head_valid(head_valid), .head(head), .m_valid(m_valid),
      .m_ready(m_ready), .m_data(m_data), .m_last(m_last));
  end else begin : g_readout
    sp_readout #(.F(F), .ACC_W(ACC_W), .X_W(X_W), .ROWS(ROWS), .BEATS(BEATS), .TABLE(TABLE)) u_readout (
      .clk(clk), .rst(rst), .room(room), .take(take), .head_valid(head_valid), .head(head), .m_valid(m_valid),
      .m_ready(m_ready), .m_data(m_data), .m_last(m_last));
  end endgenerate
endmodule
`default_nettype wire
