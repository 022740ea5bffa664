# Compile libmtmd's forty-five models as one file: a tenth of the time, which is nearly all spent in the same headers.
# llama.cpp's own models are compiled so, too (src/CMakeLists.txt). Read at the end of its top directory.
function(compile_models_as_one)
    foreach(name clip mtmd mtmd-audio mtmd-image mtmd-helper mtmd-helper-gen)
        set_source_files_properties(
            ${CMAKE_SOURCE_DIR}/tools/mtmd/${name}.cpp
            TARGET_DIRECTORY mtmd
            PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endforeach()
    set_target_properties(mtmd PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
endfunction()
cmake_language(DEFER CALL compile_models_as_one)
