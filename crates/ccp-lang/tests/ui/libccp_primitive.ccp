(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (> Flow.srtt_us 5) (:= Report.acked gain) (:= Report.timeout on) (report))
