// The modules whose definitions of resources, and whose manifests, the charts are tested with. Nothing of them is compiled.
module github.com/trackway/trackway/tools/crds

go 1.26.0

require (
	github.com/cloudnative-pg/cloudnative-pg v1.28.0 // indirect
	github.com/prometheus-operator/prometheus-operator v0.85.0 // indirect
	sigs.k8s.io/gateway-api v1.6.3 // indirect
	sigs.k8s.io/metrics-server v0.9.0 // indirect
)
