// The digits of one code: its spikes (binary), or the fewest signed digits of the same number (CSD).
`default_nettype none
module sp_digits #(
  parameter int T      = 4,
  parameter int SIGNED = 0,
  parameter int CSD    = 0,
  parameter int ND     = T + CSD
) (
  input  wire [T+SIGNED-1:0] code,        // magnitude; the sign on top if SIGNED
  output wire [ND-1:0]       some,        // digit t is not zero
  output wire [ND-1:0]       minus        // digit t is negative
);
  wire [T-1:0] magnitude = code[T-1:0];
  wire sign;
  generate
    if (SIGNED != 0) begin : g_signed
      assign sign = code[T];
    end else begin : g_unsigned
      assign sign = 1'b0;
    end
    if (CSD != 0) begin : g_csd
      // Non-adjacent form: compare a number with three times itself. Few bits are quicker without a carry chain.
      wire [T+1:0] one   = {2'b00, magnitude};
      wire [T+1:0] twice = {1'b0, magnitude, 1'b0};
      wire [T+1:0] three;
      if (T > 6) begin : g_chain
        assign three = one + twice;
      end else begin : g_tree
        genvar i;
        for (i = 0; i < T + 2; i = i + 1) begin : g_bit
          wire carry, onward;
          if (i == 0) begin : g_none
            assign carry = 1'b0;
          end else begin : g_some
            assign carry = g_bit[i-1].onward;
          end
          assign onward   = (one[i] & twice[i]) | ((one[i] | twice[i]) & carry);
          assign three[i] = one[i] ^ twice[i] ^ carry;
        end
        wire _unused_carry = &{1'b0, g_bit[T+1].onward};
      end
      wire [T+1:0] other = three ^ one;
      wire [T+1:0] below = one & ~three;
      assign some  = other[T+1:1];
      assign minus = sign ? some & ~below[T+1:1] : below[T+1:1];
      wire _unused = &{1'b0, other[0], below[0]};
    end else begin : g_binary
      assign some  = magnitude;
      assign minus = sign ? magnitude : '0;
    end
  endgenerate
endmodule
`default_nettype wire
