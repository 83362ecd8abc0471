// This file holds the benchmarks. Those against Caddy's access log stand beside
// the encoder.

package svclog

import (
	"testing"

	"go.uber.org/zap/zapcore"
)

const (
	benchForm   = "grant_type=password&username=benyoung&password=Sixteen%21letters"
	benchAnswer = `{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`
)

// Both lines of one login as Postman sends it, with the masking of both bodies.
func BenchmarkRequestAndResponseLine(b *testing.B) {
	var l Renderer
	r, a := postman(), denied()
	form, answer := []byte(benchForm), []byte(benchAnswer)
	line := make([]byte, 0, 2<<10)
	var requestBody, responseBody []byte
	b.ReportAllocs()
	for b.Loop() {
		requestBody = MaskBody(requestBody[:0], formType, "", form, false)
		responseBody = MaskBody(responseBody[:0], jsonType, "", answer, false)
		r.Body, a.Body = requestBody, responseBody
		line = l.AppendRequest(line[:0], noon, zapcore.InfoLevel, r)
		line = l.AppendResponse(line, noon, zapcore.InfoLevel, a)
	}
}

func BenchmarkRequestLine(b *testing.B) {
	var l Renderer
	r := postman()
	line := make([]byte, 0, 2<<10)
	b.ReportAllocs()
	for b.Loop() {
		line = l.AppendRequest(line[:0], noon, zapcore.InfoLevel, r)
	}
}

func BenchmarkResponseLine(b *testing.B) {
	var l Renderer
	a := denied()
	line := make([]byte, 0, 2<<10)
	b.ReportAllocs()
	for b.Loop() {
		line = l.AppendResponse(line[:0], noon, zapcore.InfoLevel, a)
	}
}

func BenchmarkMaskForm(b *testing.B) {
	form := []byte(benchForm)
	var dst []byte
	b.SetBytes(int64(len(form)))
	b.ReportAllocs()
	for b.Loop() {
		dst = MaskForm(dst[:0], form)
	}
}

func BenchmarkMaskJSON(b *testing.B) {
	text := []byte(`{"access_token":"eyJhbGciOiJSUzUxMiJ9.e30.c2ln","token_type":"bearer","refresh_token":"x",` +
		`"expires_in":900,".issued":"2025-06-10T10:29:39",".expires":"2025-06-10T10:44:39","username":"LAB\\svc"}`)
	var dst []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		dst = MaskJSON(dst[:0], text)
	}
}

func BenchmarkParse(b *testing.B) {
	line := seedLines(b)[0]
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		Parse(line, noon.Location())
	}
}
