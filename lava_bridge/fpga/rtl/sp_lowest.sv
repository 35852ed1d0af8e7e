// The lowest bit that is set, and the rest. Few bits are quicker without a carry chain.
`default_nettype none
module sp_lowest #(
  parameter int N = 8
) (
  input  wire [N-1:0] bits,
  output wire [N-1:0] first,
  output wire [N-1:0] rest
);
  generate if (N > 16) begin : g_chain
    assign rest  = bits & (bits - 1'b1);
    assign first = bits & ~rest;
  end else begin : g_tree
    genvar i;
    for (i = 0; i < N; i = i + 1) begin : g_bit
      wire below;                         // a lower one is set
      if (i == 0) begin : g_none
        assign below = 1'b0;
      end else begin : g_some
        assign below = |bits[i-1:0];
      end
      assign rest[i]  = bits[i] && below;
      assign first[i] = bits[i] && !below;
    end
  end endgenerate
endmodule
`default_nettype wire
