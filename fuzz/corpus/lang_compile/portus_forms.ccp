# Every form that portus' tests write: words for signs, comments everywhere, `ewma`, `if` and
# `!if` as values, a local variable, nesting, an underscore in a name, names without a block.
(def (Report.foo_bar 0) (Report.low +infinity) (Report.any false) # a comment
     (Report.rate 0) (Report.sum 0) (Control.low +infinity) (once 0))
(when true # another
    (bind Report.foo_bar 4)
    (bind Report.rate (ewma 2 Flow.rate_outgoing))
    (bind Report.low (if (< Flow.rtt_sample_us Report.low) Flow.rtt_sample_us))
    (bind once (if (== once 0) (+ once 1)))
    (bind Report.any (!if Report.any (> Ack.lost_pkts_sample 0)))
    (bind extra 3)
    (bind Report.sum (+ (+ 1 2) extra))
    (bind Report.sum (+ (+ 4 5) (add Report.sum 6)))
    (fallthrough)
)
(when (< Flow.rtt_sample_us Control.low)
    (bind Control.low Flow.rtt_sample_us)
    (fallthrough)
)
(when (and (gt (+ 1 2) 2) (or (lt once 5) (eq once 7)))
    (:= Report.sum (max (mul 2 3) (sub 9 (div 8 4))))
    (:= Report.foo_bar (wrapped_max Report.foo_bar Ack.bytes_acked))
    (report)
)
