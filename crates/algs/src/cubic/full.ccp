# CUBIC with HyStart++ on a datapath that reduces the window by itself when it loses something. All
# of the law is here, in 64-bit arithmetic that cannot overflow, as `ccp_types::law::cubic` and
# `law::hystart` have it: windows in bytes, times on the curve in milliseconds, factors in
# thousandths. The agent hears what happened and changes parameters.
(def
    (Report
        (volatile acked 0)       # bytes acknowledged since the last report
        (volatile lost 0)        # packets found lost since the last report
        (volatile timeout false) # the retransmission timer ran out since the last report
        (event 0)                # loss events so far: one per window, however much of it was lost
        (flight 0)               # bytes outstanding before the last loss event
        (cwnd 0)                 # bytes
        (rtt 0)                  # us, smoothed; 0 before the first
        (mss 0)                  # bytes
        (w_max 0)                # bytes: where the curve is flat; 0 if that is not known
        (k 0)                    # ms from the beginning of the curve to there
        (css 0))                 # rounds of conservative slow start that are left
    (ssthresh +infinity)         # bytes; slow start below it
    (every 0)                    # us between reports, and
    (rounds 1)                   # round-trip times between reports: the longer of the two
    (beta 700)                   # what a loss leaves of the window
    (c 400)                      # segments per cubic second
    (alpha 529)                  # segments per round trip that make this as fast as Reno
    (shrink 850)                 # what is left of a maximum that is below the one before
    (hystart true)               # HyStart++ in the first slow start,
    (trains true))               # and HyStart's trains of acknowledgements

# What is seen. `peak` is the most that was outstanding in this round trip and the one before,
# `used` how much of the window is.
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
    (:= Report.mss (max 1 (min Flow.mss 65535)))
    (if (< Flow.srtt_us 60000000) (:= Report.rtt Flow.srtt_us))
    (:= this_round (max this_round (+ Flow.bytes_in_flight Ack.bytes_acked)))
    (:= peak (max this_round last_round))
    (if (>= Ack.now round_end)
        (:= last_round this_round)
        (:= this_round 0)
        (:= round_end (+ Ack.now Report.rtt)))
    (:= used mine)
    (!if Flow.cwnd_limited (:= used (min peak mine)))
    (:= reducing (&& (>= Flow.recovery_state 2) (<= Flow.recovery_state 3)))
    (fallthrough))

# The first time: a reduction that is under way was answered by who steered the flow before.
(when (== mine 0)
    (if (>= Flow.recovery_state 2)
        (:= ssthresh (min ssthresh (max Flow.ssthresh (* 2 Report.mss)))))
    (:= was_reducing reducing)
    (:= was Flow.recovery_state)
    (:= used Cwnd)
    (:= mine Cwnd)
    (fallthrough))

# Time goes on along the curve while the window is used, by no more than a round trip at once: what is
# beyond was spent idle.
(when Flow.cwnd_limited
    (:= elapsed (+ elapsed (min (- Ack.now (min Ack.now seen)) Flow.rtt_sample_us)))
    (fallthrough))

# After an idle time the datapath has closed the window: slow start leads back to three quarters of it.
(when (&& (< Cwnd mine) (&& (< Flow.recovery_state 2) (== Flow.was_timeout false)))
    (:= ssthresh (max ssthresh (* 3 (/ mine 4))))
    (fallthrough))

# A reduction was spurious, and the datapath has undone it.
(when (&& (> Cwnd mine) (&& (> undo_cwnd mine) (>= Cwnd (- undo_cwnd (min undo_cwnd Report.mss)))))
    (:= ssthresh undo_ssthresh)
    (:= Report.w_max undo_w_max)
    (:= Report.k undo_k)
    (:= elapsed undo_elapsed)
    (:= w_est undo_w_est)
    (:= prior undo_prior)
    (:= probing undo_probing)
    (:= undo_cwnd 0)
    (:= again 0)
    (fallthrough))

# Recovery begins, or begins again before it was seen to end. Or a timeout; one in recovery, or after
# another one, belongs to the same loss event.
(when true
    (:= losing (&& reducing (|| (== was_reducing false) (< Cwnd mine))))
    (:= expired (&& Flow.was_timeout (|| (== Flow.recovery_state 4) (< Cwnd mine))))
    (fallthrough))

(when (|| losing expired)
    (if (|| losing (< was 2))
        (:= undo_cwnd mine)
        (:= undo_ssthresh ssthresh)
        (:= undo_w_max Report.w_max)
        (:= undo_k Report.k)
        (:= undo_elapsed elapsed)
        (:= undo_w_est w_est)
        (:= undo_prior prior)
        (:= Report.event (+ Report.event 1))
        (:= Report.flight used)
        (:= undo_probing probing)
        (:= probing false)
        (:= prior (min used 1099511627776))
        (:= left 1000)
        (if (<= (+ prior Report.mss) Report.w_max) (:= left shrink))
        (:= Report.w_max (/ (* prior left) 1000))
        (:= ssthresh (max (/ (* prior beta) 1000) (* 2 Report.mss))))
    # The datapath has halved the window, or reduced it to a segment.
    (if losing (:= Cwnd (min ssthresh (max mine (* 2 Report.mss)))))
    (:= Ssthresh ssthresh)
    # After a timeout the curve is flat where congestion avoidance begins.
    (if expired
        (:= Report.timeout true)
        (:= Report.w_max 0))
    (:= w_est 0)
    (report)
    (fallthrough))

# Nothing grows in recovery, at its last acknowledgement (which also covers what had been
# acknowledged selectively), while the window is not used, or
# beyond a terabyte. After a timeout growth is by what is
# new: the rest of what an acknowledgement covers had arrived before.
(when true
    (:= grow (min Ack.bytes_acked 4294967295))
    (if (|| (== Flow.recovery_state 4) (== was 4))
        (:= grow (min grow (* (min Ack.packets_acked 65536) Report.mss))))
    (if (|| reducing was_reducing) (:= grow 0))
    (if (|| (>= Cwnd 1099511627776) (== Flow.cwnd_limited false)) (:= grow 0))
    (fallthrough))

# HyStart++, as long as there was no loss. A round whose round-trip time is clearly above that of the
# round before begins conservative slow start; five rounds of it end slow start. So does a round whose
# acknowledgements come in a train as long as half of the path; all of it if the sender paces.
(when (&& (&& hystart (== ssthresh +infinity)) (> Ack.bytes_acked 0))
    (if (!= Flow.round_count round)
        (:= round Flow.round_count)
        (:= before 0)
        (if (> samples 0) (:= before least))
        (:= samples 0)
        (:= train_began Ack.now)
        (:= train Ack.now)
        (if (> Report.css 0)
            (:= Report.css (- Report.css 1))
            (if (== Report.css 0) (:= ssthresh Cwnd))))
    (if (< Flow.rtt_sample_us 60000000)
        (if (== samples 0) (:= least Flow.rtt_sample_us))
        (:= least (min least Flow.rtt_sample_us))
        (:= samples (+ samples 1)))
    (if (&& (>= samples 8) (== ssthresh +infinity))
        (:= rise (min (max (/ before 8) 4000) 16000))
        (:= rising (&& (> before 0) (>= least (+ before rise))))
        (if (== Report.css 0)
            (if rising
                (:= Report.css 5)
                (:= baseline least)))
        (if (< least baseline) (:= Report.css 0)))
    (if (&& trains (<= Ack.now (+ train 2000)))
        (:= train Ack.now)
        (:= path (+ (min Flow.min_rtt_us 60000000) 1000))
        (!if Flow.paced (:= path (/ path 2)))
        (:= filled (&& (> Ack.now (+ train_began path)) (>= Cwnd (* 16 Report.mss))))
        (if filled (:= ssthresh Cwnd)))
    (if (< ssthresh +infinity)
        (:= Ssthresh ssthresh)
        (:= Report.css 0)
        (:= prior Cwnd)
        (:= probing trains))
    (if (> Report.css 0) (:= grow (/ grow 4)))
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
# in `k`, a cube root, by Newton's method from a guess that is at most four times as large.
(when (&& (&& (> grow 0) (>= Cwnd ssthresh)) (== w_est 0))
    (:= elapsed 0)
    (:= again 0)
    (:= credit 0)
    (:= est_credit 0)
    (:= w_est Cwnd)
    (:= Report.k 0)
    (if (> Report.w_max Cwnd)
        (:= cube (min (/ (* (- Report.w_max Cwnd) 1000) Report.mss) 2147483648))
        (:= cube (/ (* cube 1000000000) c))
        (:= k 524288)
        (if (< cube 2251799813685248) (:= k 131072))
        (if (< cube 35184372088832) (:= k 32768))
        (if (< cube 549755813888) (:= k 8192))
        (if (< cube 8589934592) (:= k 2048))
        (if (< cube 134217728) (:= k 512))
        (if (< cube 2097152) (:= k 128))
        (if (< cube 32768) (:= k 32))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= k (min k (/ (+ (* 2 k) (/ cube (* k k))) 3)))
        (:= Report.k (min k 262144)))
    (:= Report.w_max (max Report.w_max Cwnd))
    (fallthrough))

# Once per millisecond at most: the window that the curve has for a round trip from now, but no more
# than half as much again as it is, and after slow start without a loss a twentieth more at least; and
# what each byte acknowledged contributes to get there.
(when (&& (&& (> grow 0) (>= Cwnd ssthresh)) (>= Ack.now again))
    (:= t (/ (+ elapsed Report.rtt) 1000))
    (:= away (min (- (max t Report.k) (min t Report.k)) 262144))
    (:= away (/ (* (/ (* (* away away) away) 1000000) (* Report.mss c)) 1000000))
    (:= target (+ Report.w_max away))
    (if (< t Report.k) (:= target (- Report.w_max (min away Report.w_max))))
    (:= floor Cwnd)
    (if probing (:= floor (+ Cwnd (/ Cwnd 20))))
    (:= target (min (max target floor) (+ Cwnd (/ Cwnd 2))))
    (:= gain (/ (* (- target Cwnd) 16777216) Cwnd))
    (:= again (+ Ack.now 1000))
    (fallthrough))

# Congestion avoidance: by the curve, or by what Reno would have grown to if that is more.
(when (&& (> grow 0) (>= Cwnd ssthresh))
    (:= credit (+ credit (* grow gain)))
    (if (>= credit (* Report.mss 16777216))
        (:= step (/ credit 16777216))
        (:= credit (- credit (* step 16777216)))
        (:= Cwnd (min (+ Cwnd step) (max target Cwnd))))
    (:= slope 1000)
    (if (< w_est prior) (:= slope alpha))
    (:= est_credit (+ est_credit (* grow slope)))
    (if (>= est_credit (* Cwnd 1000))
        (:= step (/ est_credit (* Cwnd 1000)))
        (:= est_credit (- est_credit (* step (* Cwnd 1000))))
        (:= w_est (+ w_est (* step Report.mss))))
    (:= Cwnd (max Cwnd w_est))
    (fallthrough))

(when true
    (:= was Flow.recovery_state)
    (:= was_reducing reducing)
    (:= seen Ack.now)
    (:= mine Cwnd)
    (:= Report.cwnd Cwnd)
    (fallthrough))

(when (>= Micros (max every (* rounds Report.rtt)))
    (report)
    (reset))
