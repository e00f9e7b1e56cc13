(def (Report (x 0)) (Cwnd 1) (Micros 2) (Flow.mss 3) (Ack.mine 4))
(when true (report))
