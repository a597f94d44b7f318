"""Chat templates in the shape of well-known families', written anew: the constructs that they
use, none of their words.
"""

from __future__ import annotations

CHATML = """{%- if messages[0].role != 'system' %}
    {{- '<|begin|>system\\nYou are helpful.<|end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|begin|>' + message.role + '\\n' + message.content + '<|end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|begin|>assistant\\n' }}{%- endif %}"""

HEADERS = """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2020" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|header|>system<|/header|>\\n\\nToday: " + date_string + "\\n\\n" }}
{{- system_message + "<|eot|>" }}
{%- if tools is not none %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|header|>' + message['role'] + '<|/header|>\\n\\n' + message['content'] | trim }}
        {{- '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("only one call at once") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", ' + tool_call.arguments | tojson + '}' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|header|>assistant<|/header|>\\n\\n' }}
{%- endif %}
"""

THINKING = """{%- if tools %}
    {{- '<|begin|>system\\n' }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "<|end|>\\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages | length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string
        and not (message.content.startswith('<result>')
        and message.content.endswith('</result>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning) %}
            {{- '<|begin|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' }}
            {{- content + '<|end|>\\n' }}
        {%- else %}
            {{- '<|begin|>assistant\\n' + content + '<|end|>\\n' }}
        {%- endif %}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|begin|>user' }}
        {%- endif %}
        {{- '\\n<result>\\n' + content + '\\n</result>' }}
    {%- else %}
        {{- '<|begin|>' + message.role + '\\n' + content + '<|end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|begin|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

TURNS = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("roles must take turns") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- endif -%}
    {{ '</turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<turn>model\\n' }}{%- endif -%}
"""

BRACKETS = """{%- set first = messages[0] %}
{%- set system = first.content if first.role == 'system' else '말을 잘 듣는 비서' %}
{%- set rest = messages | rejectattr('role', 'equalto', 'system') | list %}
{%- set n = namespace(users=0) %}
{{- bos_token }}
{%- for message in rest %}
    {%- if message.role == 'user' %}
        {%- set n.users = n.users + 1 %}
        {%- if loop.last %}{{- '[SYS]' + system + '[/SYS]' }}{%- endif %}
        {{- '[ASK]' ~ ' ' ~ message.content ~ '[/ASK]' }}
    {%- elif message.role == 'assistant' %}
        {%- generation %}{{- ' ' + message.content | trim + eos_token }}{%- endgeneration %}
    {%- else %}
        {{- raise_exception('unknown role: ' + message.role | string) }}
    {%- endif %}
    {%- if n.users > 99 %}{%- break %}{%- endif %}
{%- endfor %}"""

MACROS = """{%- macro turn(role, text='') -%}
[|{{ role }}|]{{ text | trim }}
{%- endmacro -%}
{%- macro schema(spec) -%}
    {%- for key, value in spec.items() if key not in ['title'] -%}
        {{ key }}: {{ value | tojson(ensure_ascii=False) if value is mapping else value }}
        {%- if not loop.last %}, {% endif -%}
    {%- endfor -%}
{%- endmacro -%}
{% for message in messages %}
{% if loop.first and message.role != 'system' %}
{{ turn('system') }}[|end|]
{% endif %}
{{ turn(message.role, message.content) }}{{ '[|end|]\\n' if message.role != 'user' else '\\n' }}
{%- endfor %}
{{- '' if tools is none else schema({'tools': tools}) }}
{% if add_generation_prompt %}
{{ turn('assistant') }}
{% endif %}"""

TEMPLATES = {
    "chatml": CHATML,
    "headers": HEADERS,
    "thinking": THINKING,
    "turns": TURNS,
    "brackets": BRACKETS,
    "macros": MACROS,
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
