# CUBIC on a datapath that measures what libccp does, no more, and does not answer losses by itself.
# The law is that of the other program, in fewer instructions. HyStart++ is left to the agent, which is
# told the least round-trip time of each round. Until everything is acknowledged that was outstanding
# at a loss, nothing grows and no further loss counts.
(def
    (Report
        (event 0)                # loss events so far: one per window, however much of it was lost
        (cwnd 0)                 # bytes
        (rtt 0)                  # us; 0 before the first
        (w_max 0)                # bytes: where the curve is flat; 0 if that is not known
        (k 0)                    # ms from the beginning of the curve to there
        (volatile least +infinity) # us: the least round-trip time in the first slow start, of
        (volatile samples 0))    # this many acknowledgements since the last report
    (ssthresh +infinity)         # bytes; slow start below it
    (every 0)                    # us between reports, and
    (rounds 1)                   # round-trip times between reports: the longer of the two
    (beta 700)                   # what a loss leaves of the window
    (c 400)                      # segments per cubic second
    (alpha 529)                  # segments per round trip that make this as fast as Reno
    (shrink 850)                 # what is left of a maximum that is below the one before
    (slower 1)                   # by how much slower the first slow start is than others, and
    (limit +infinity)            # bytes; its end
    (segment 1))                 # bytes: the largest segment, which this datapath does not tell

# What is seen. `peak` is the most that was outstanding in this round trip and the one before; 0
# from a datapath that does not tell. `left` is what recovery still waits for. A window counts as
# used as a whole if no more than three segments of it were free all the time.
(when true
    (if (< Flow.rtt_sample_us 60000000) (:= Report.rtt Flow.rtt_sample_us))
    (:= held left)
    (:= left (- left (min left Ack.bytes_acked)))
    (if (== held 0) (:= slow false))
    (if (> Flow.bytes_in_flight 0)
        (:= this_round (max this_round (+ Flow.bytes_in_flight Ack.bytes_acked))))
    (:= peak (max this_round last_round))
    (:= unused (&& (> peak 0) (> Cwnd (+ peak (* 3 segment)))))
    (if (== held 0)
        (:= flight Cwnd)
        (if unused (:= flight peak)))
    (:= turn (>= Ack.now round_end))
    (if turn
        (:= last_round this_round)
        (:= this_round 0)
        (:= round_end (+ Ack.now Report.rtt)))
    (:= grow (min Ack.bytes_acked 1073741824))
    (fallthrough))

# Time goes on along the curve while the window is used, by no more than a round trip at once: what is
# beyond was spent idle.
(when (== unused false)
    (:= elapsed (+ elapsed (min (- Ack.now (min Ack.now seen)) Report.rtt)))
    (fallthrough))

# A loss, a mark or a timeout. One before everything is acknowledged belongs to the same loss event.
(when (&& (|| Flow.was_timeout (> (+ Ack.lost_pkts_sample Ack.ecn_packets) 0)) (== left 0))
    (:= Report.event (+ Report.event 1))
    (:= prior flight)
    (:= step 1000)
    (if (<= (+ prior segment) Report.w_max) (:= step shrink))
    (:= Report.w_max (/ (* prior step) 1000))
    (:= ssthresh (max (/ (* prior beta) 1000) (* 2 segment)))
    (:= Cwnd (min Cwnd ssthresh))
    (:= left (* segment (/ prior segment)))
    (:= w_est 0)
    (report)
    (fallthrough))

# After a timeout the curve is flat where congestion avoidance begins.
(when Flow.was_timeout
    (:= Cwnd segment)
    (:= slow true)
    (:= Report.w_max 0)
    (:= w_est 0)
    (report)
    (fallthrough))

# Nothing grows in recovery and at its last acknowledgement. After a timeout growth is by one
# segment at a time instead. A window that is not used does not grow either; in slow start, one of which
# less than half was.
(when (|| (> held 0) (> left 0))
    (:= grow (min grow segment))
    (!if slow (:= grow 0))
    (:= elapsed 0)
    (fallthrough))
(when (&& (== held 0) unused)
    (if (|| (>= Cwnd ssthresh) (>= Cwnd (* 2 peak))) (:= grow 0))
    (fallthrough))

# The first slow start. Its rounds are reported when they end: each lasts as long as the round-trip time
# was when it began, since with a queue that grows the present one is never over.
(when (&& (== ssthresh +infinity) (> Ack.bytes_acked 0))
    (:= Report.least (min Report.least Flow.rtt_sample_us))
    (:= Report.samples (+ Report.samples 1))
    (:= ssthresh (min ssthresh limit))
    (if (< Cwnd ssthresh) (:= grow (/ grow slower)))
    (if turn (report))
    (fallthrough))

# Slow start. What is left of the acknowledgement at `ssthresh` counts below. After an idle time Reno would
# be no further.
(when (&& (> grow 0) (< Cwnd ssthresh))
    (:= step (min grow (- ssthresh Cwnd)))
    (:= Cwnd (+ Cwnd step))
    (:= grow (- grow step))
    (:= w_est (min w_est ssthresh))
    (fallthrough))

# Congestion avoidance begins: the curve leads from the present window to its flat part at `w_max`
# in `k`, a cube root. From above, a step of Newton's method per acknowledgement finds it, already in
# recovery.
(when (&& (>= Cwnd ssthresh) (== w_est 0))
    (:= Report.w_max (max Report.w_max Cwnd))
    (:= cube (min (/ (* (- Report.w_max Cwnd) 1000) segment) 2147483648))
    (:= cube (/ (* cube 1000000000) c))
    (:= Report.k 262144)
    (:= elapsed 0)
    (:= credit 0)
    (:= est_credit 0)
    (:= w_est Cwnd)
    (fallthrough))
(when (> w_est 0)
    (:= Report.k (min Report.k (max 1 (/ (+ (* 2 Report.k) (/ cube (* Report.k Report.k))) 3))))
    (fallthrough))

# Congestion avoidance: towards the window that the curve has for a round trip from now, but no more
# than half as much again as it is; or by what Reno would have grown to if that is more.
(when (&& (> grow 0) (> w_est 0))
    (:= t (/ (+ elapsed Report.rtt) 1000))
    (:= away (min (- (max t Report.k) (min t Report.k)) 262144))
    (:= away (/ (* (/ (* (* away away) away) 1000000) (* segment c)) 1000000))
    (:= target (+ Report.w_max away))
    (if (< t Report.k) (:= target (- Report.w_max (min away Report.w_max))))
    (:= target (min (max target Cwnd) (+ Cwnd (/ Cwnd 2))))
    (:= credit (+ credit (* grow (min (- target Cwnd) 4294967295))))
    (:= step (/ credit Cwnd))
    (:= credit (- credit (* step Cwnd)))
    (:= Cwnd (+ Cwnd step))
    (if (< w_est prior) (:= grow (/ (* grow alpha) 1000)))
    (:= est_credit (+ est_credit (* grow segment)))
    (:= step (/ est_credit Cwnd))
    (:= est_credit (- est_credit (* step Cwnd)))
    (:= w_est (+ w_est step))
    (:= Cwnd (max Cwnd w_est))
    (fallthrough))

(when true
    (:= seen Ack.now)
    (:= Report.cwnd Cwnd)
    (fallthrough))

(when (>= Micros (max every (* rounds Report.rtt)))
    (report)
    (reset))
