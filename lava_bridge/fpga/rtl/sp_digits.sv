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
      // Non-adjacent form: compare a number with three times itself.
      wire [T+1:0] one   = {2'b00, magnitude};
      wire [T+1:0] three = one + {1'b0, magnitude, 1'b0};
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
