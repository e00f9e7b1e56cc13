# Reno on a datapath that measures what libccp does, no more, and does not answer losses by itself.
# This program grows the window, halves it at a loss, and tells the agent, which says where growth
# is to slow down. Until everything is acknowledged that was outstanding at the loss, nothing grows
# and no further loss counts.
(def
    (Report
        (volatile acked 0)       # bytes acknowledged since the last report
        (volatile lost 0)        # packets found lost, or marked, since the last report
        (volatile timeout false) # the retransmission timer ran out since the last report
        (event 0)                # loss events so far: one per window, however much of it was lost
        (flight 0)               # bytes outstanding, before the last loss event in recovery
        (cwnd 0)                 # bytes
        (rtt 0)                  # us; 0 before the first
        (mss 0))                 # bytes
    (ssthresh +infinity)         # bytes; slow start below it
    (every 0)                    # us between reports, and
    (rounds 1)                   # round-trip times between reports: the longer of the two
    (answered 0)                 # the loss event that `target` is the answer to
    (target 0)                   # bytes; 0 if there is no answer
    (segment 1))                 # bytes: the largest segment, which this datapath does not tell

# What is seen. `peak` is the most that was outstanding in this round trip and the one before; 0
# from a datapath that does not tell. `left` is what recovery still waits for. A window counts as
# used as a whole if no more than three segments of it were free all the time.
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Report.lost (+ Report.lost (+ Ack.lost_pkts_sample Ack.ecn_packets)))
    (:= Report.mss segment)
    (if (< Flow.rtt_sample_us 60000000) (:= Report.rtt Flow.rtt_sample_us))
    (:= held left)
    (:= left (- left (min left Ack.bytes_acked)))
    (if (== held 0) (:= slow false))
    (if (> Flow.bytes_in_flight 0)
        (:= this_round (max this_round (+ Flow.bytes_in_flight Ack.bytes_acked))))
    (:= peak (max this_round last_round))
    (:= unused (&& (> peak 0) (> Cwnd (+ peak (* 3 segment)))))
    (if (== held 0)
        (:= Report.flight Cwnd)
        (if unused (:= Report.flight peak)))
    (if (>= Ack.now round_end)
        (:= last_round this_round)
        (:= this_round 0)
        (:= round_end (+ Ack.now Report.rtt)))
    (:= grow Ack.bytes_acked)
    (fallthrough))

# A timeout. One before everything is acknowledged belongs to the same loss event.
(when Flow.was_timeout
    (:= Report.timeout true)
    (if (== left 0)
        (:= Report.event (+ Report.event 1))
        (:= ssthresh (max (/ Report.flight 2) (* 2 segment)))
        (:= left Report.flight))
    (:= Cwnd segment)
    (:= slow true)
    (:= grow 0)
    (:= credit 0)
    (report)
    (fallthrough))

# A loss or a mark.
(when (&& (> (+ Ack.lost_pkts_sample Ack.ecn_packets) 0) (== left 0))
    (:= Report.event (+ Report.event 1))
    (:= ssthresh (max (/ Report.flight 2) (* 2 segment)))
    (:= Cwnd (min Cwnd ssthresh))
    (:= left Report.flight)
    (:= credit 0)
    (report)
    (fallthrough))

# The agent's answer, unless another loss has overtaken it. It never raises the window.
(when (> target 0)
    (if (== answered Report.event)
        (:= ssthresh target)
        (:= Cwnd (min Cwnd target)))
    (:= target 0)
    (fallthrough))

# Nothing grows in recovery and at its last acknowledgement. After a timeout growth is by one
# segment at a time instead. A window that is not used does not grow either; in slow start, one of which
# less than half was.
(when true
    (if (|| (> held 0) (> left 0))
        (if slow (:= grow (min grow segment)))
        (!if slow (:= grow 0)))
    (if (&& (== held 0) unused)
        (if (|| (>= Cwnd ssthresh) (>= Cwnd (* 2 peak))) (:= grow 0)))
    (fallthrough))

# Slow start. What is left of the acknowledgement at `ssthresh` counts below.
(when (&& (> grow 0) (< Cwnd ssthresh))
    (:= step (min grow (- ssthresh Cwnd)))
    (:= Cwnd (+ Cwnd step))
    (:= grow (- grow step))
    (fallthrough))

# Congestion avoidance: one segment per window acknowledged.
(when (&& (> grow 0) (>= Cwnd ssthresh))
    (:= credit (+ credit grow))
    (if (>= credit Cwnd)
        (:= credit (- credit Cwnd))
        (:= Cwnd (+ Cwnd segment)))
    (fallthrough))

(when true
    (:= Report.cwnd Cwnd)
    (fallthrough))

(when (>= Micros (max every (* rounds Report.rtt)))
    (report)
    (reset))
