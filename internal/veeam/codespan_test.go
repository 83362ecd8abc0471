package veeam

import (
	"testing"
	"testing/synctest"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/internal/tracing"
)

func TestAWaitForAnUnusedCodeIsASpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := tracetest.NewSpanRecorder()
		ctx, _ := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)).Tracer("test").Start(t.Context(), "login")
		ledger, seed := new(totp.Ledger), newTOTP(t, rfcSHA1)
		for i := range 3 {
			if _, err := ledger.Next(ctx, seed, codeOptions(0, nil)); err != nil {
				t.Fatal(err)
			}
			if n := len(recorder.Ended()); n != i {
				t.Errorf("%d spans after %d codes", n, i+1)
			}
		}
		for _, span := range recorder.Ended() {
			if span.Name() != tracing.Code || len(span.Attributes()) != 0 {
				t.Errorf("%s %v", span.Name(), span.Attributes())
			}
		}
	})
}
