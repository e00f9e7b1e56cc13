# CUBIC with HyStart++ on a datapath that reduces the window by itself when it loses something. All
# of the law is here, in 64-bit arithmetic that cannot overflow, as `ccp_types::law::cubic` and
# `law::hystart` have it: windows in bytes, times on the curve in milliseconds, factors in
# thousandths. The agent hears what happened and changes parameters.
#
# Nearly every acknowledgement is an ordinary one of congestion avoidance, for which the first clause is
# all there is: it counts down what is to be acknowledged until something is to be computed again.
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

# The ordinary acknowledgement: nothing is wrong or lost, the window is used and nobody else has changed
# it, neither a report nor a look at the curve is due, and what it acknowledges makes nothing grow yet.
# `steady` is the window as long as all else is as well, otherwise 0.
(when (&& (== Cwnd steady) (> left Ack.bytes_acked) (< Ack.now wake)
          Flow.cwnd_limited (< Flow.recovery_state 2) (== Ack.lost_pkts_sample 0))
    (:= left (- left Ack.bytes_acked)))

# What is seen, and what ordinary acknowledgements brought. `peak` is the most that was outstanding in
# this round trip and the one before, `used` how much of the window is. Time goes on along the curve
# while the window is used; it is counted where the curve is looked at.
(when true
    (:= since (- counted left))
    (:= credit (+ credit (* since gain)))
    (:= est_credit (+ est_credit (* since slope)))
    (:= Report.acked (+ Report.acked (+ since Ack.bytes_acked)))
    (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
    (:= Report.mss (max 1 (min Flow.mss 65535)))
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
                (:= round_end (+ Ack.now Report.rtt)))
            (:= elapsed (+ elapsed (min (-| Ack.now seen) (+ Report.rtt 31250))))
            (:= seen +infinity)))
    (:= reducing (&& (>= Flow.recovery_state 2) (<= Flow.recovery_state 3)))
    (fallthrough))

# The first time: a reduction that is under way was answered by who steered the flow before. If that was
# about to lead back to a larger window, after an idle time, slow start goes on.
(when (== mine 0)
    (if (>= Flow.recovery_state 2)
        (:= ssthresh (min ssthresh (max Flow.ssthresh (* 2 Report.mss))))
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
    # it, and the curve goes on from where it was.
    (if (&& (< Cwnd mine) (&& (< Flow.recovery_state 2) (== Flow.was_timeout false)))
        (:= ssthresh (max ssthresh (* 3 (/ mine 4)))))

    # A reduction was spurious, and the datapath has undone it.
    (if (&& (> Cwnd mine) (&& (> undo_cwnd mine) (>= Cwnd (- undo_cwnd (min undo_cwnd Report.mss)))))
        (:= ssthresh undo_ssthresh)
        (:= Report.w_max undo_w_max)
        (:= Report.k undo_k)
        (:= elapsed undo_elapsed)
        (:= seen +infinity)
        (:= w_est undo_w_est)
        (:= prior undo_prior)
        (:= probing undo_probing)
        (:= undo_cwnd 0)
        (:= evaluated 0))

    # Recovery begins, or begins again before it was seen to end. Or a timeout; one in recovery, or
    # after another one, belongs to the same loss event.
    (:= losing (&& reducing (|| (== was_reducing false) (< Cwnd mine))))
    (:= expired (&& Flow.was_timeout (|| (== Flow.recovery_state 4) (< Cwnd mine))))
    (if (|| losing expired)
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
            (:= left_over 1000)
            (if (<= (+ prior Report.mss) Report.w_max) (:= left_over shrink))
            (:= Report.w_max (/ (* prior left_over) 1000))
            (:= ssthresh (max (/ (* prior beta) 1000) (* 2 Report.mss))))
        # The datapath has halved the window, or reduced it to a segment.
        (if losing (:= Cwnd (min ssthresh (max mine (* 2 Report.mss)))))
        (:= Ssthresh ssthresh)
        # After a timeout the curve is flat where congestion avoidance begins.
        (if expired
            (:= Report.timeout true)
            (:= Report.w_max 0))
        (:= w_est 0)
        (report))
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

# Slow start. What is left of the acknowledgement at `ssthresh` counts below.
(when (&& (> grow 0) (< Cwnd ssthresh))
    (:= step (min grow (- ssthresh Cwnd)))
    (:= Cwnd (+ Cwnd step))
    (:= grow (- grow step))
    (fallthrough))

# Congestion avoidance begins: the curve leads from the present window to its flat part at `w_max`
# in `k`, a cube root, by Newton's method from a guess that is at most four times as large.
(when (&& (&& (> grow 0) (>= Cwnd ssthresh)) (== w_est 0))
    (:= elapsed 0)
    (:= seen Ack.now)
    (:= evaluated 0)
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

# Congestion avoidance. Until the window or the estimate of Reno's takes a step, and for a thirty-second
# of a second at most, it goes on as before: `left` bytes.
(when (&& (> grow 0) (>= Cwnd ssthresh))
    (:= seen (min seen Ack.now))
    (if (!= Cwnd evaluated)
        (:= gain 0)
        (:= slope 1000)
        (if (< w_est prior) (:= slope alpha)))
    (:= credit (+ credit (* grow gain)))
    (:= est_credit (+ est_credit (* grow slope)))
    (if (&& (> left grow) (&& (== Cwnd evaluated) (< Ack.now again)))
        (:= left (- left grow))
        (else
            (if (>= credit (* Report.mss 16777216))
                (:= step (/ credit 16777216))
                (:= credit (- credit (* step 16777216)))
                (:= Cwnd (min (+ Cwnd step) (max target Cwnd))))
            (if (>= est_credit (* Cwnd 1000))
                (:= step (/ est_credit (* Cwnd 1000)))
                (:= est_credit (- est_credit (* step (* Cwnd 1000))))
                (:= w_est (+ w_est (* step Report.mss))))
            # What Reno's is ahead by more than a step of its own is made up for in a round trip.
            (if (<= w_est (+ Cwnd Report.mss)) (:= Cwnd (max Cwnd w_est)))

            # The window that the curve has for a round trip from now, or Reno's, but no more than half as
            # much again as it is, and after slow start without a loss a twentieth more at least; and what
            # each byte acknowledged contributes to get there. Of the time that has passed counts what
            # passes while acknowledgements come: what is beyond was spent idle.
            (:= elapsed (+ elapsed (min (- Ack.now seen) (+ Report.rtt 31250))))
            (:= seen Ack.now)
            (:= t (/ (+ elapsed Report.rtt) 1000))
            (:= away (min (- (max t Report.k) (min t Report.k)) 262144))
            (:= away (/ (* (/ (* (* away away) away) 1000000) (* Report.mss c)) 1000000))
            (:= target (+ Report.w_max away))
            (if (< t Report.k) (:= target (- Report.w_max (min away Report.w_max))))
            (:= floor Cwnd)
            (if probing (:= floor (+ Cwnd (/ Cwnd 20))))
            (:= target (min (max (max target w_est) floor) (+ Cwnd (/ Cwnd 2))))
            (:= gain (/ (* (- target Cwnd) 16777216) Cwnd))
            (:= slope 1000)
            (if (< w_est prior) (:= slope alpha))
            (:= again (+ Ack.now 31250))
            (:= evaluated Cwnd)

            # How far it is to the next step of either.
            (:= left (/ (+ (- (* Cwnd 1000) est_credit) (- slope 1)) slope))
            (if (> gain 0)
                (:= left (min left (/ (+ (- (* Report.mss 16777216) credit) (- gain 1)) gain))))
            (:= left (min left 1099511627776))))
    (fallthrough))

(when true
    (:= was Flow.recovery_state)
    (:= was_reducing reducing)
    (:= mine Cwnd)
    (:= Report.cwnd Cwnd)
    (:= counted left)
    (:= steady 0)
    (if (&& (== Cwnd evaluated) (&& (> w_est 0) (>= Cwnd ssthresh)
            (< Flow.recovery_state 2) Flow.cwnd_limited))
        (:= steady Cwnd))
    (:= wait (max every (* rounds Report.rtt)))
    (if (>= Ack.now (+ reported wait))
        (:= reported Ack.now)
        (report))
    (:= wake (min again (+ reported wait))))
