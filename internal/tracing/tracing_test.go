package tracing

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestWithoutATraceNothingIsMade(t *testing.T) {
	ctx := t.Context()
	if allocations := testing.AllocsPerRun(100, func() {
		if Active(ctx) || Carry(ctx, ctx) != ctx || Without(ctx) != ctx {
			t.Error("there is a trace")
		}
	}); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
	below, end := Start(ctx, Login, About{Product: "vbr"})
	end("timeout")
	if below != ctx {
		t.Error("there is a span")
	}
	new(Flight).Waited(ctx, About{}, time.Now(), "")
}

func TestSpansHaveParentsLinksAndReasons(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	ctx, request := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)).Tracer("test").Start(t.Context(), "request")
	carried := Carry(context.Background(), ctx)
	login, end := Start(carried, Login, About{Product: "vbr", Account: "svc", Grant: "password"})
	var flight Flight
	flight.Begin(login)
	since := time.Now().Add(-time.Second)
	Past(login, Pace, About{}, since, "throttled")
	flight.Waited(ctx, About{}, since, "")
	end("")
	if Active(Without(carried)) {
		t.Error("there is still a trace")
	}
	spans := recorder.Ended()
	if len(spans) != 3 || spans[0].Name() != Pace || spans[1].Name() != Wait || spans[2].Name() != Login {
		t.Fatalf("the spans are %v", spans)
	}
	pace, wait, grant := spans[0], spans[1], spans[2]
	if pace.Parent().SpanID() != grant.SpanContext().SpanID() || wait.Parent().SpanID() != request.SpanContext().SpanID() || grant.Parent().SpanID() != request.SpanContext().SpanID() {
		t.Error("a parent is wrong")
	}
	if len(wait.Links()) != 1 || wait.Links()[0].SpanContext.SpanID() != grant.SpanContext().SpanID() {
		t.Errorf("the links are %v", wait.Links())
	}
	if pace.Status().Code != codes.Error || pace.Status().Description != "throttled" || !pace.StartTime().Equal(since) || grant.Status().Code != codes.Unset {
		t.Errorf("%v, %v", pace.Status(), grant.Status())
	}
	if len(grant.Attributes()) != 3 || len(wait.Attributes()) != 0 {
		t.Errorf("the attributes are %v and %v", grant.Attributes(), wait.Attributes())
	}
}

func TestTheDocsNameEverySpan(t *testing.T) {
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Login, Renewal, Wait, Pace, Code, Replay, string(attrProduct), string(attrAccount), string(attrGrant), string(attrOperation), string(attrReason)} {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/events.md does not name %s", name)
		}
	}
}
