//! The programs that are compiled and run: shared with `datapath-cost`.

/// The programs that are compiled, by their number of clauses. Both compilers take them.
pub(crate) const PROGRAMS: [&str; 3] = [
    "(def (Report (volatile minrtt +infinity)))
     (when true
         (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
         (fallthrough))
     (when (> Micros 42000)
         (report)
         (:= Micros 0))",
    "(def (Report (volatile acked 0) (volatile lost 0) (volatile minrtt +infinity) (rate 0)))
     (when true
         (:= Report.acked (+ Report.acked Ack.bytes_acked))
         (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
         (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
         (:= Report.rate (ewma 2 Flow.rate_incoming))
         (fallthrough))
     (when (> Report.lost 0)
         (report)
         (:= Micros 0))
     (when (> Micros (* 2 Report.minrtt))
         (report)
         (:= Micros 0))",
    "(def (Report (volatile acked 0) (volatile sacked 0) (volatile loss 0) (volatile timeout false)
                  (volatile rtt 0) (volatile inflight 0) (volatile rate 0))
          (threshold 1000000) (cap 1448000))
     (when true
         (:= Report.inflight Flow.packets_in_flight)
         (:= Report.rtt Flow.rtt_sample_us)
         (:= Report.acked (+ Report.acked Ack.bytes_acked))
         (:= Report.sacked (+ Report.sacked Ack.packets_misordered))
         (:= Report.loss Ack.lost_pkts_sample)
         (:= Report.timeout Flow.was_timeout)
         (:= Report.rate (max Report.rate (min Flow.rate_incoming Flow.rate_outgoing)))
         (:= Cwnd (min cap (+ Cwnd (/ (* Ack.bytes_acked 1448) (max Cwnd 1448)))))
         (fallthrough))
     (when (|| Report.timeout (> Report.loss 0))
         (report)
         (:= Micros 0))
     (when (&& (> Report.acked threshold) (> Report.rtt 0))
         (:= threshold (* 2 threshold))
         (fallthrough))
     (when (> Micros Report.rtt)
         (report)
         (:= Micros 0))",
];
