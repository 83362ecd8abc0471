// Which version of the module runs.

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-veeam/veeam-auth/internal/buildinfo"
)

// BuildInfo is the constant 1 with the labels version, commit and Go version of the
// module.
func BuildInfo() prometheus.Collector {
	info := buildinfo.Read()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "build_info",
		Help:        "Version of the module, always 1.",
		ConstLabels: prometheus.Labels{"version": info.Version, "revision": info.Revision, "go": info.Go},
	})
	gauge.Set(1)
	return gauge
}
