# Reno on a datapath that reduces the window by itself when it loses something. This program grows
# the window, and tells the agent of each loss so that it can say where growth is to slow down.
(def
    (Report
        (volatile acked 0)       # bytes acknowledged since the last report
        (volatile lost 0)        # packets found lost since the last report
        (volatile timeout false) # the retransmission timer ran out since the last report
        (event 0)                # loss events so far: one per window, however much of it was lost
        (flight 0)               # bytes outstanding before the last loss event
        (cwnd 0)                 # bytes
        (rtt 0)                  # us, smoothed; 0 before the first
        (mss 0))                 # bytes
    (ssthresh +infinity)         # bytes; slow start below it
    (every 0)                    # us between reports, and
    (rounds 1)                   # round-trip times between reports: the longer of the two
    (answered 0)                 # the loss event that `target` is the answer to
    (target 0))                  # bytes; 0 if there is no answer

# What is seen. `peak` is the most that was outstanding in this round trip and the one before,
# `used` how much of the window is.
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
    (:= Report.mss Flow.mss)
    (if (< Flow.srtt_us 60000000) (:= Report.rtt Flow.srtt_us))
    (:= this_round (max this_round (+ Flow.bytes_in_flight Ack.bytes_acked)))
    (:= peak (max this_round last_round))
    (if (>= Ack.now round_end)
        (:= last_round this_round)
        (:= this_round 0)
        (:= round_end (+ Ack.now Report.rtt)))
    (:= used (min peak mine))
    (if Flow.cwnd_limited (:= used mine))
    (:= reducing (&& (>= Flow.recovery_state 2) (<= Flow.recovery_state 3)))
    (:= grow Ack.bytes_acked)
    (fallthrough))

# The first time: a reduction that is under way was answered by who steered the flow before.
(when (== mine 0)
    (if (>= Flow.recovery_state 2)
        (:= ssthresh (min ssthresh (max Flow.ssthresh (* 2 Flow.mss)))))
    (:= was_reducing reducing)
    (:= was Flow.recovery_state)
    (:= used Cwnd)
    (:= mine Cwnd)
    (fallthrough))

# After an idle time the datapath has closed the window: slow start leads back to three quarters of it.
(when (&& (< Cwnd mine) (&& (< Flow.recovery_state 2) (== Flow.was_timeout false)))
    (:= ssthresh (max ssthresh (* 3 (/ mine 4))))
    (fallthrough))

# A reduction was spurious, and the datapath has undone it.
(when (> Cwnd mine)
    (:= ssthresh (max ssthresh Flow.ssthresh))
    (fallthrough))

# Recovery begins, or begins again before it was seen to end. The datapath has halved the window.
(when (&& reducing (|| (== was_reducing false) (< Cwnd mine)))
    (:= Report.event (+ Report.event 1))
    (:= Report.flight used)
    (:= ssthresh Cwnd)
    (:= credit 0)
    (report)
    (fallthrough))

# A timeout. One in recovery, or after another one, belongs to the same loss event.
(when (&& Flow.was_timeout (|| (== Flow.recovery_state 4) (< Cwnd mine)))
    (:= Report.timeout true)
    (if (< was 2)
        (:= Report.event (+ Report.event 1))
        (:= Report.flight used)
        (:= ssthresh (max (/ used 2) (* 2 Flow.mss))))
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

# Nothing grows in recovery, at its last acknowledgement (which also covers what had been
# acknowledged selectively), or while the window is not used. After a timeout growth is by one
# segment at a time.
(when true
    (if (|| reducing was_reducing) (:= grow 0))
    (if (|| (== Flow.recovery_state 4) (== was 4)) (:= grow (min grow Flow.mss)))
    (!if Flow.cwnd_limited (:= grow 0))
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
        (:= Cwnd (+ Cwnd Flow.mss)))
    (fallthrough))

(when true
    (:= was Flow.recovery_state)
    (:= was_reducing reducing)
    (:= mine Cwnd)
    (:= Report.cwnd Cwnd)
    (fallthrough))

(when (>= Micros (max every (* rounds Report.rtt)))
    (report)
    (reset))
