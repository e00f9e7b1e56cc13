(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (ewma 11 Ack.bytes_acked)) (report))
