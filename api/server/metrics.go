package server

import (
	"net/http"

	"github.com/rs/zerolog"
)

// PathMetrics is where Prometheus asks; it has no version, as everywhere else.
const PathMetrics = "/metrics"

// NewMetrics makes the server of a TCP port of its own for metrics, which
// anybody may read who reaches it: h answers PathMetrics and everything else is
// refused.
func NewMetrics(h http.Handler, log zerolog.Logger) *Server {
	r := newRouter(log)
	r.mux.Handle(PathMetrics, h)
	s := newServer(r.mux, log)
	s.room = metricsRoom()
	return s
}
