# Additive increase, multiplicative decrease, with slow start: a whole algorithm without an agent.
# It measures no more than any datapath does. Run it with `own_recovery = true`: it answers losses.
(def
    (Report
        (volatile acked 0) # bytes acknowledged since the last report
        (volatile lost 0)  # packets found lost since the last report
        (cwnd 0)           # bytes
        (rtt 0))           # us, the last sample; 0 before the first
    (step 1448)            # bytes: what a round trip without loss adds
    (left 50)              # percent: what a loss leaves of the window
    (ssthresh +infinity))  # bytes: slow start below it

# What is seen.
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
    (if (< Flow.rtt_sample_us 60s) (:= Report.rtt Flow.rtt_sample_us))
    (fallthrough))

# A timeout: the window is one step, and slow start goes up to half of what it was.
(when Flow.was_timeout
    (:= ssthresh (max (/ Cwnd 2) (* 2 step)))
    (:= Cwnd step)
    (:= quiet_until (+ Ack.now Report.rtt))
    (:= Report.cwnd Cwnd)
    (report))

# A loss: the window is reduced, once in a round trip.
(when (&& (> Ack.lost_pkts_sample 0) (>= Ack.now quiet_until))
    (:= Cwnd (max (/ (* Cwnd left) 100) (* 2 step)))
    (:= ssthresh Cwnd)
    (:= quiet_until (+ Ack.now Report.rtt))
    (:= Report.cwnd Cwnd)
    (report))

# No loss, and the last one was a round trip ago: the window grows, twofold in a round trip below
# `ssthresh`, by one step above.
(when true
    (if (>= Ack.now quiet_until)
        (if (< Cwnd ssthresh)
            (:= Cwnd (+ Cwnd Ack.bytes_acked))
            (else (:= Cwnd (+ Cwnd (/ (* step Ack.bytes_acked) (max Cwnd 1)))))))
    (:= Report.cwnd Cwnd)
    (fallthrough))

# Once in a round trip somebody may want to know.
(when (> Micros (max Report.rtt 10ms))
    (report)
    (reset))
