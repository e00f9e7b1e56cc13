# Reno on a datapath that reduces the window by itself when it loses something. This program grows
# the window, and tells the agent of each loss so that it can say where growth is to slow down.
#
# Nearly every acknowledgement is an ordinary one of congestion avoidance, for which the first clause is
# all there is: it counts down what is to be acknowledged until the window grows.
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

# The ordinary acknowledgement: nothing is wrong or lost, the window is used and nobody else has changed
# it, no report is due, and what it acknowledges makes nothing grow yet. `steady` is the window as long as
# all else is as well, otherwise 0.
(when (&& (== Cwnd steady) (> left Ack.bytes_acked) (< Ack.now wake)
          Flow.cwnd_limited (< Flow.recovery_state 2) (== Ack.lost_pkts_sample 0))
    (:= left (- left Ack.bytes_acked)))

# What is seen, and what ordinary acknowledgements brought. `peak` is the most that was outstanding in
# this round trip and the one before, `used` how much of the window is.
(when true
    (:= since (- counted left))
    (:= credit (+ credit since))
    (:= Report.acked (+ Report.acked (+ since Ack.bytes_acked)))
    (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
    (:= Report.mss Flow.mss)
    (if (< Flow.srtt_us 60000000) (:= Report.rtt Flow.srtt_us))
    (:= used mine)
    (if Flow.cwnd_limited
        (:= this_round mine)
        (:= last_round mine)
        (else
            (:= this_round (max this_round (+ Flow.bytes_in_flight Ack.bytes_acked)))
            (:= peak (max this_round last_round))
            (:= used (min peak mine))
            (if (>= Ack.now round_end)
                (:= last_round this_round)
                (:= this_round 0)
                (:= round_end (+ Ack.now Report.rtt)))))
    (:= reducing (&& (>= Flow.recovery_state 2) (<= Flow.recovery_state 3)))
    (:= grow Ack.bytes_acked)
    (fallthrough))

# The first time: a reduction that is under way was answered by who steered the flow before. If that was
# about to lead back to a larger window, after an idle time, slow start goes on.
(when (== mine 0)
    (if (>= Flow.recovery_state 2)
        (:= ssthresh (min ssthresh (max Flow.ssthresh (* 2 Flow.mss))))
        (else (if (< Flow.ssthresh +infinity) (:= ssthresh (max ssthresh Flow.ssthresh)))))
    (:= was_reducing reducing)
    (:= was Flow.recovery_state)
    (:= used Cwnd)
    (:= mine Cwnd)
    (:= reported Ack.now)
    (fallthrough))

# Somebody else has changed the window, or something was lost.
(when (|| (!= Cwnd mine) (>= Flow.recovery_state 2))
    # After an idle time the datapath has closed the window: slow start leads back to three quarters of
    # it.
    (if (&& (< Cwnd mine) (&& (< Flow.recovery_state 2) (== Flow.was_timeout false)))
        (:= ssthresh (max ssthresh (* 3 (/ mine 4)))))

    # A reduction was spurious, and the datapath has undone it.
    (if (> Cwnd mine)
        (:= ssthresh (max ssthresh Flow.ssthresh)))

    # Recovery begins, or begins again before it was seen to end. The datapath has halved the window.
    (:= expired (&& Flow.was_timeout (|| (== Flow.recovery_state 4) (< Cwnd mine))))
    (if (&& reducing (|| (== was_reducing false) (< Cwnd mine)))
        (:= Report.event (+ Report.event 1))
        (:= Report.flight used)
        (:= ssthresh Cwnd)
        (:= credit 0)
        (report))

    # A timeout. One in recovery, or after another one, belongs to the same loss event.
    (if expired
        (:= Report.timeout true)
        (if (< was 2)
            (:= Report.event (+ Report.event 1))
            (:= Report.flight used)
            (:= ssthresh (max (/ used 2) (* 2 Flow.mss))))
        (:= credit 0)
        (report))
    (fallthrough))

# The agent's answer, unless another loss has overtaken it. It never raises the window. As long as it is
# awaited, no acknowledgement is ordinary.
(when (> target 0)
    (if (== answered Report.event)
        (:= ssthresh target)
        (:= Cwnd (min Cwnd target)))
    (:= settled answered)
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

# A changed interval of reports is noticed within a tenth of a second.
(when true
    (:= was Flow.recovery_state)
    (:= was_reducing reducing)
    (:= mine Cwnd)
    (:= Report.cwnd Cwnd)
    (:= left (-| Cwnd credit))
    (:= counted left)
    (:= steady 0)
    (if (&& (>= Cwnd ssthresh) (&& Flow.cwnd_limited (< Flow.recovery_state 2) (== settled Report.event)))
        (:= steady Cwnd))
    (:= wait (max every (* rounds Report.rtt)))
    (if (>= Ack.now (+ reported wait))
        (:= reported Ack.now)
        (report))
    (:= wake (min (+ reported wait) (+ Ack.now 100ms))))
