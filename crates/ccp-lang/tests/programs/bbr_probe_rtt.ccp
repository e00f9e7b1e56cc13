# BBR with an empty pipe: four packets or fewer, for 200 ms and a round trip.
(def
    (Report (volatile minrtt +infinity))
    (volatile target_inflight_reached false)
)
(when true
    (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
    (fallthrough)
)
(when (&& (|| (< Flow.packets_in_flight 4) (== Flow.packets_in_flight 4))
          (== target_inflight_reached false))
    (:= target_inflight_reached true)
    (:= Micros 0)
)
(when (&& (&& (> Micros Flow.rtt_sample_us) (> Micros 200000)) target_inflight_reached)
    (report)
)
