// Self-checking bench of a streaming layer: words of stimulus.mem in, words of expected.mem out, random
// stalls on both sides; bench.svh names the layer, its parameters, its input ports and the sizes. Prints PASS with the cycle in which each sample's last word left, or FAIL.
`timescale 1ns / 1ps
`default_nettype none
`include "bench.svh"
module tb_stream;
  localparam int OUT_W = `OUT_W;         // bits of tdata; an expected word is {tlast, tdata}
  localparam int WORDS_IN = `WORDS_IN;
  localparam int WORDS_OUT = `WORDS_OUT;
  localparam int STALL = `STALL;         // percent of cycles in which either side pauses
  localparam int LIMIT = `LIMIT;         // cycles
  reg clk = 1'b0;
  reg rst = 1'b1;
  reg [63:0] stimulus [0:WORDS_IN-1];
  reg [OUT_W:0] expected [0:WORDS_OUT-1];
  reg s_valid = 1'b0;
  reg m_ready = 1'b0;
  wire s_ready, m_valid, m_last;
  wire [OUT_W-1:0] m_data;
  integer sent = 0;
  integer got = 0;
  integer bad = 0;
  integer cycle = 0;
  integer seed = 1;
  wire [63:0] s_word = stimulus[sent < WORDS_IN ? sent : WORDS_IN - 1];

  `DUT dut (
      .clk(clk), .rst(rst), .s_axis_tvalid(s_valid), .s_axis_tready(s_ready), `DUT_INPUTS,
      .m_axis_tvalid(m_valid), .m_axis_tready(m_ready), .m_axis_tdata(m_data), .m_axis_tlast(m_last));

  function automatic bit runs(input integer percent);
    runs = (percent == 0) || ($unsigned($random(seed)) % 100 >= percent);
  endfunction

  initial begin
    $readmemh("stimulus.mem", stimulus);
    $readmemh("expected.mem", expected);
  end
  always #5 clk = !clk;
  always @(posedge clk) begin
    cycle <= cycle + 1;
    if (cycle == 8) rst <= 1'b0;
    if (cycle > 10) begin
      // AXI4-Stream: an offered word stays until it is taken.
      if (s_valid && s_ready) sent <= sent + 1;
      if (!s_valid || s_ready)
        s_valid <= (sent + ((s_valid && s_ready) ? 1 : 0) < WORDS_IN) && runs(STALL);
      m_ready <= runs(STALL);
      if (m_valid && m_ready) begin
        if ({m_last, m_data} !== expected[got]) begin
          if (bad < 5) $display("word %0d: got %h, expected %h", got, {m_last, m_data}, expected[got]);
          bad <= bad + 1;
        end
        if (m_last) $display("sample %0d", cycle);
        got <= got + 1;
      end
      if (got == WORDS_OUT || cycle > LIMIT) begin
        if (got == WORDS_OUT && bad == 0) $display("PASS"); else $display("FAIL %0d words, %0d bad", got, bad);
        $finish;
      end
    end
  end
endmodule
`default_nettype wire
