"""Inputs and outputs: one shape for all conventions, nothing twice, nothing too large."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from made import START_NS, item
from opentelemetry.sdk.trace import Event

LLM = {"gen_ai.operation.name": "chat"}
TOOL = {"openinference.span.kind": "TOOL"}
CHAIN = {"openinference.span.kind": "CHAIN"}

QUESTION = {"role": "user", "content": "Sum?"}
CALL = {"id": "c1", "name": "add", "arguments": {"a": 1}}
ASKED = [
    {"role": "system", "content": "Be brief."},
    QUESTION,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "3", "tool_call_id": "c1"},
]

GENAI = [
    {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
    {"role": "user", "parts": [{"type": "text", "content": "Sum?"}], "name": None},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "3"}]},
]
PYDANTIC_AI = [
    *GENAI[:2],
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": '{"a": 1}'}]},
    {"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "result": "3"}]},
]
OPENAI = [
    *ASKED[:2],
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
    },
    ASKED[3],
]
RESPONSES = {
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Sum?"}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
    ],
}
GEMINI = {
    "config": {"system_instruction": "Be brief."},
    "contents": [
        {"role": "user", "parts": [{"text": "Sum?"}]},
        {"role": "model", "parts": [{"function_call": {"id": "c1", "name": "add", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"function_response": {"id": "c1", "response": "3"}}]},
    ],
}
ANTHROPIC = {
    "system": "Be brief.",
    "messages": [
        QUESTION,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "3"}]},
    ],
}


def constructor(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": kwargs}


LANGCHAIN = {
    "messages": [
        [
            constructor("SystemMessage", content="Be brief.", type="system"),
            constructor("HumanMessage", content="Sum?"),
            constructor("AIMessage", content="", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}]),
            {"type": "tool", "data": {"content": "3", "type": "tool", "tool_call_id": "c1", "status": "success"}},
        ]
    ]
}
OPENINFERENCE = {
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Be brief.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": "Sum?",
    "llm.input_messages.2.message.role": "assistant",
    "llm.input_messages.2.message.tool_calls.0.tool_call.id": "c1",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "add",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": '{"a": 1}',
    "llm.input_messages.10.message.role": "tool",
    "llm.input_messages.10.message.content": "3",
    "llm.input_messages.10.message.tool_call_id": "c1",
}
OPENLLMETRY_048 = {
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "Be brief.",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": "Sum?",
    "gen_ai.prompt.2.role": "assistant",
    "gen_ai.prompt.2.tool_calls.0.id": "c1",
    "gen_ai.prompt.2.tool_calls.0.name": "add",
    "gen_ai.prompt.2.tool_calls.0.arguments": '{"a": 1}',
    "gen_ai.prompt.3.role": "tool",
    "gen_ai.prompt.3.content": "3",
    "gen_ai.prompt.3.tool_call_id": "c1",
}


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"gen_ai.input.messages": json.dumps(GENAI)}, id="genai"),
        pytest.param({"gen_ai.input.messages": tuple(GENAI)}, id="genai, structured"),
        pytest.param(
            {
                "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
                "gen_ai.input.messages": json.dumps(PYDANTIC_AI[1:]),
            },
            id="pydantic-ai, instructions apart",
        ),
        pytest.param(OPENINFERENCE, id="openinference"),
        pytest.param(OPENLLMETRY_048, id="openllmetry 0.48"),
        pytest.param({"gen_ai.prompt": json.dumps(LANGCHAIN)}, id="langsmith"),
        pytest.param({"input.value": json.dumps({"messages": OPENAI})}, id="openai chat"),
        pytest.param({"input.value": json.dumps(RESPONSES)}, id="openai responses"),
        pytest.param({"gcp.vertex.agent.llm_request": json.dumps(GEMINI)}, id="gemini"),
        pytest.param({"input.value": json.dumps(ANTHROPIC)}, id="anthropic"),
    ],
)
def test_a_conversation_reads_the_same_from_every_convention(attributes: dict[str, Any]) -> None:
    assert {"messages": ASKED} == item({**LLM, **attributes})["input"]


ANSWER = {"content": "Three.", "finish_reason": "stop"}


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "gen_ai.output.messages": json.dumps(
                [{"role": "assistant", "parts": [{"type": "text", "content": "Three."}], "finish_reason": "stop"}]
            )
        },
        {"llm.output_messages.0.message.content": "Three.", "llm.finish_reason": "stop"},
        {"gen_ai.completion.0.content": "Three.", "gen_ai.completion.0.finish_reason": "stop"},
        {
            "gen_ai.completion": json.dumps(
                {"generations": [[{"text": "Three.", "generation_info": {"finish_reason": "stop"}}]]}
            )
        },
        {
            "output.value": json.dumps(
                {"choices": [{"message": {"role": "assistant", "content": "Three."}, "finish_reason": "stop"}]}
            )
        },
        {
            "output.value": json.dumps(
                {
                    "output": [
                        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Three."}]}
                    ]
                }
            ),
            "llm.finish_reason": "stop",
        },
        {
            "gcp.vertex.agent.llm_response": json.dumps(
                {"content": {"role": "model", "parts": [{"text": "Three."}]}, "finish_reason": "stop"}
            )
        },
        {
            "output.value": json.dumps(
                {"role": "assistant", "content": [{"type": "text", "text": "Three."}], "stop_reason": "stop"}
            )
        },
        {"output.value": "Three.", "llm.finish_reason": "stop"},
    ],
)
def test_an_answer_reads_the_same_from_every_convention(attributes: dict[str, Any]) -> None:
    assert item({**LLM, **attributes})["output"] == ANSWER


def test_thoughts_calls_and_text_of_one_turn_are_one_answer() -> None:
    output = item(
        {
            "openinference.span.kind": "LLM",
            "llm.output_messages.0.message.contents.0.message_content.type": "reasoning",
            "llm.output_messages.0.message.contents.0.message_content.text": "Add them.",
            "llm.output_messages.1.message.tool_calls.0.tool_call.id": "c1",
            "llm.output_messages.1.message.tool_calls.0.tool_call.function.name": "add",
            "llm.output_messages.1.message.tool_calls.0.tool_call.function.arguments": '{"a": 1}',
        }
    )["output"]
    assert output == {
        "content": "",
        "reasoning": "Add them.",
        "tool_calls": [{"id": "c1", "name": "add", "args": {"a": 1}}],
    }


def wrapped(wrappers: int) -> str:
    return '{"output":' * wrappers + '{"choices":[{"text":"Three."}]}' + "}" * wrappers


@pytest.mark.parametrize("wrappers", [1, 2, 8])
def test_an_answer_is_unwrapped_a_few_times(wrappers: int) -> None:
    assert item({**LLM, "output.value": wrapped(wrappers)})["output"] == {"content": "Three."}


@pytest.mark.parametrize("wrappers", [9, 300, 1_000])
def test_an_answer_that_is_wrapped_without_end_stays_as_it_is(wrappers: int) -> None:
    """As far down as items go."""
    output = item({**LLM, "output.value": wrapped(wrappers)})["output"]
    for _ in range(9):
        assert [*output] == ["output"]
        output = output["output"]


def test_several_choices_stay_apart() -> None:
    choices = [{"role": "assistant", "content": "3"}, {"role": "assistant", "content": "three"}]
    assert item({**LLM, "output.value": json.dumps({"choices": [{"message": c} for c in choices]})})["output"] == {
        "messages": choices
    }


def test_a_request_shows_its_model_tools_and_parameters_once() -> None:
    tool = {"name": "add", "parameters": {"type": "object"}}
    mapped = item(
        {
            **LLM,
            "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Sum?"}]}]',
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024",
            "gen_ai.request.temperature": 0.2,
            "gen_ai.tool.definitions": json.dumps([{"type": "function", "function": tool}]),
        }
    )
    assert mapped["input"] == {
        "model": "gpt-4o",
        "messages": [QUESTION],
        "tools": [tool],
        "parameters": {"temperature": 0.2},
    }
    assert mapped["metadata"]["model"] == "gpt-4o-2024"
    assert mapped["metadata"]["attributes"] == LLM


MESSAGE = {"type": "tool", "data": {"content": '{"sum": 3}', "type": "tool", "tool_call_id": "c1"}}


@pytest.mark.parametrize(
    "attributes",
    [
        {**TOOL, "input.value": '{"a": 1}', "output.value": json.dumps(MESSAGE)},
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.call.arguments": '{"a": 1}',
            "gen_ai.tool.call.result": '{"sum": 3}',
        },
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.input": json.dumps(
                {"input_str": "{'a': 1}", "inputs": {"a": 1}, "tags": [], "kwargs": {}}
            ),
            "traceloop.entity.output": json.dumps(
                {"output": constructor("ToolMessage", content='{"sum": 3}'), "kwargs": {}}
            ),
        },
        {
            "langsmith.span.kind": "tool",
            "gen_ai.prompt": '{"a": 1}',
            "gen_ai.completion": json.dumps({"output": {**MESSAGE["data"], "additional_kwargs": {}}}),
        },
    ],
)
def test_a_tool_reads_the_same_from_every_convention(attributes: dict[str, Any]) -> None:
    mapped = item(attributes)
    assert mapped["type"] == "CODE_EXECUTION"
    assert (mapped["input"], mapped["output"]) == ({"a": 1}, {"sum": 3})


def test_a_tool_with_a_parameter_named_query_is_no_callback_blob() -> None:
    arguments = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": '{"query": "x", "tags": []}'}
    assert item(arguments)["input"] == {"query": "x", "tags": []}


@pytest.mark.parametrize("text", ["123", "true", "null", "{'a': 1}", "[not json", "plain"])
def test_what_is_not_json_stays_text(text: str) -> None:
    assert item({**CHAIN, "input.value": text})["input"] == {"input": text}


def test_a_declared_text_is_not_decoded() -> None:
    assert item({**CHAIN, "input.value": '{"a": 1}', "input.mime_type": "text/plain"})["input"] == {"input": '{"a": 1}'}


def test_a_text_in_brackets_is_not_taken_for_cut_json() -> None:
    assert "truncated" not in item({**CHAIN, "input.value": "[note] why?"})["metadata"]


def test_json_that_was_cut_is_kept_and_marked() -> None:
    mapped = item({**CHAIN, "input.value": '{"a": "bcd'})
    assert mapped["input"] == {"input": '{"a": "bcd'}
    assert mapped["metadata"]["truncated"] is True


@pytest.mark.parametrize("empty", ["", "{}", "[]", ()])
def test_an_empty_payload_counts_as_absent(empty: Any) -> None:
    attributes = {"langsmith.span.kind": "chain", "gen_ai.completion": "said", "output.value": empty}
    assert item(attributes)["output"] == {"output": "said"}


def test_retrieved_documents_have_one_shape() -> None:
    document = {"id": "d1", "content": "text", "score": 0.5, "metadata": {"page": 1}}
    flattened = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": "Where?",
        "retrieval.documents.0.document.id": "d1",
        "retrieval.documents.0.document.content": "text",
        "retrieval.documents.0.document.score": 0.5,
        "retrieval.documents.0.document.metadata": '{"page": 1}',
    }
    dumped = {
        "gen_ai.operation.name": "vector_db_retrieve",
        "traceloop.entity.input": json.dumps({"query": "Where?", "tags": [], "kwargs": {}}),
        "traceloop.entity.output": json.dumps(
            {"documents": [{"id": "d1", "page_content": "text", "score": 0.5, "metadata": {"page": 1}}], "count": 1}
        ),
    }
    for attributes in (flattened, dumped):
        mapped = item(attributes)
        assert (mapped["input"], mapped["output"]) == ({"query": "Where?"}, {"documents": [document]})


def test_embeddings_show_texts_and_sizes_but_no_vector() -> None:
    mapped = item(
        {
            "openinference.span.kind": "EMBEDDING",
            "embedding.embeddings.0.embedding.text": "hello",
            "embedding.embeddings.0.embedding.vector": (0.25, 0.5),
            "output.value": '{"data": [{"embedding": [0.25, 0.5]}]}',
        }
    )
    assert mapped["input"] == {"input": ["hello"]}
    assert mapped["output"] == {"embedding_count": 1, "dimensions": 2}
    assert "0.25" not in repr(mapped)


BASE64 = "iVBORw0K" * 200


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (
            {"type": "blob", "mime_type": "image/png", "content": "iVBO"},
            {"type": "blob", "mime_type": "image/png", "bytes_elided": 4},
        ),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}},
            {"type": "image_url", "image_url": {"url": {"mime_type": "image/png", "bytes_elided": 1607}}},
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BASE64}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "bytes_elided": 1600}},
        ),
        (
            {"type": "input_audio", "input_audio": {"format": "wav", "data": BASE64}},
            {"type": "input_audio", "input_audio": {"format": "wav", "data": {"bytes_elided": 1600}}},
        ),
        ({"type": "uri", "uri": "https://x/y.png"}, {"type": "uri", "uri": "https://x/y.png"}),
    ],
)
def test_media_is_named_and_measured_but_not_sent(part: Any, shown: Any) -> None:
    said = {"type": "text", "content": "Look:"}
    mapped = item({**LLM, "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [said, part]}])})
    assert mapped["input"]["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Look:"}, shown]}]


def test_a_long_text_keeps_its_head_and_tail() -> None:
    mapped = item({**CHAIN, "input.value": "head " + "x y " * 300_000 + " tail"})
    text = mapped["input"]["input"]
    assert text.startswith("head ")
    assert text.endswith(" tail")
    assert "200010 characters left out" in text
    assert mapped["metadata"]["truncated"] is True


@pytest.mark.parametrize("size", [250_000, 900_000])
def test_a_large_prompt_arrives_whole(size: int) -> None:
    prompt = ("word " * size)[:size]
    mapped = item({**LLM, "gen_ai.input.messages": json.dumps([{"role": "user", "content": prompt}])})
    assert mapped["input"]["messages"] == [{"role": "user", "content": prompt}]
    assert "truncated" not in mapped["metadata"]


def test_a_cut_text_leaves_room_for_the_short_ones_after_it() -> None:
    short = "Say it again, but this time in Latin, and then once more in the words of a sailor. " * 4
    said = [{"role": "user", "content": "x y " * 2_000_000}] + [{"role": "user", "content": short}] * 50
    mapped = item({**LLM, "gen_ai.input.messages": json.dumps(said)})
    assert [message["content"] for message in mapped["input"]["messages"][1:]] == [short] * 50
    assert mapped["metadata"]["truncated"] is True


def test_a_field_is_bounded_whatever_it_holds() -> None:
    texts = ["x y " * 100] * 50_000
    assert len(json.dumps(item({**CHAIN, "input.value": json.dumps(texts)})["input"])) < 5_000_000


@pytest.mark.parametrize(
    "text",
    ["x" * 50_000, "deadbeef0123" * 1_000, "DEADBEEF0123" * 1_000, "AVeryLongWordInCamelCase" * 500, "a-b_c/d" * 1_000],
)
def test_a_long_word_is_no_base64(text: str) -> None:
    assert item({**CHAIN, "input.value": text})["input"] == {"input": text}


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
@pytest.mark.parametrize("size", [3_000, 3_001, 3_002])
def test_the_base64_of_bytes_is_elided(encode: Any, size: int) -> None:
    text = encode(random.Random(size).randbytes(size)).decode().replace("\n", "")
    assert item({**CHAIN, "input.value": text})["input"] == {"input": {"bytes_elided": len(text)}}


def test_adk_tells_what_a_tool_was_called_with_and_returned() -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.system": "gcp.vertex.agent"}
    arguments = {"gcp.vertex.agent.tool_call_args": '{"city": "Oslo"}'}
    mapped = item({**tool, **arguments, "gcp.vertex.agent.tool_response": '{"result": "rain"}'})
    assert (mapped["input"], mapped["output"]) == ({"city": "Oslo"}, {"result": "rain"})
    assert item({**tool, "gcp.vertex.agent.tool_call_args": "N/A"})["input"] == {}


def test_a_list_too_long_to_read_is_replaced_by_its_length() -> None:
    mapped = item({**CHAIN, "input.value": json.dumps(["x"] * 100_001)})
    assert mapped["input"] == {"input": {"items_elided": 100_001}}
    assert mapped["metadata"]["truncated"] is True


def test_a_vector_anywhere_is_replaced_by_its_length() -> None:
    mapped = item({"my.vector": [0.5] * 384})
    assert mapped["metadata"]["attributes"]["my.vector"] == {"type": "vector", "length": 384, "bytes_elided": 3072}


def test_the_user_metadata_is_flat_and_never_taken_for_ours() -> None:
    user = {"plan": "pro", "a.b": 1, "usage": {"input_tokens": 9}, "error": "x", "__source__": "me", "model": "mine"}
    metadata = item({**LLM, "gen_ai.request.model": "gpt", "metadata": json.dumps(user)})["metadata"]
    assert metadata["plan"] == "pro"
    assert metadata["a_b"] == 1
    assert metadata["model"] == "gpt"
    assert metadata["__source__"] == "otel"
    assert {key: metadata[f"user_{key}"] for key in ("usage", "error", "__source__", "model")} == {
        key: user[key] for key in ("usage", "error", "__source__", "model")
    }
    assert "usage" not in metadata


def test_the_environment_that_langsmith_leaks_is_left_out() -> None:
    leaked = {"langsmith.span.kind": "chain", "langsmith.metadata.LANGSMITH_PROJECT": "secret"}
    assert "secret" not in repr(item({**leaked, "langsmith.metadata.tenant": "acme"}))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"tag.tags": ("b", "a")}, ["b", "a"]),
        ({"langsmith.span.tags": "b, a"}, ["a", "b"]),
        ({"traceloop.entity.input": '{"inputs": 1, "tags": ["t"], "kwargs": {}}'}, ["t"]),
    ],
)
def test_tags(attributes: Any, expected: list[str]) -> None:
    assert item(attributes)["metadata"]["tags"] == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"llm.prompt_template.template": "Hi {n}", "llm.prompt_template.variables": '{"n": "Bo"}'},
            {"template": "Hi {n}", "variables": {"n": "Bo"}},
        ),
        ({"gen_ai.prompt.name": "greet", "gen_ai.prompt.variable.n": "Bo"}, {"name": "greet", "variable.n": "Bo"}),
        ({"traceloop.prompt.key": "greet"}, {"key": "greet"}),
    ],
)
def test_prompt_template(attributes: Any, expected: Any) -> None:
    assert item(attributes)["metadata"]["prompt_template"] == expected


def test_a_prompt_span_without_input_shows_its_template() -> None:
    attributes = {"openinference.span.kind": "PROMPT", "llm.prompt_template.template": "Hi {n}"}
    assert item(attributes)["input"] == {"template": "Hi {n}", "variables": None}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"content": '[{"text": "Sum?"}]'}, {"message": '[{"text": "Three."}]', "finish_reason": "stop"}),
        (
            {"gen_ai.event.content": '{"role": "user", "content": "Sum?"}'},
            {"gen_ai.event.content": '{"index": 0, "finish_reason": "stop", "message": {"content": "Three."}}'},
        ),
    ],
)
def test_messages_in_events_are_read_when_nothing_else_is(asked: Any, said: Any) -> None:
    events = [Event("gen_ai.user.message", asked, START_NS), Event("gen_ai.choice", said, START_NS)]
    mapped = item(LLM, events=events)
    assert mapped["input"] == {"messages": [QUESTION]}
    assert mapped["output"] == ANSWER
    assert "events" not in mapped["metadata"]


def test_messages_in_events_that_are_not_needed_stay_events() -> None:
    events = [Event("gen_ai.user.message", {"content": "Sum?"}, START_NS)]
    mapped = item({"gen_ai.operation.name": "execute_tool"}, events=events)
    assert [event["attributes"] for event in mapped["metadata"]["events"]] == [{"content": "Sum?"}]
    assert "Sum?" not in repr(mapped["metadata"].get("attributes"))
